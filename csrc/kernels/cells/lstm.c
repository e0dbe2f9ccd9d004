/* Long short-term memory with the options of its literature: S. Hochreiter, J.
 * Schmidhuber, Neural Computation 9(8):1735-1780, 1997; F. Gers, J. Schmidhuber, F.
 * Cummins, Learning to Forget, Neural Computation 12(10):2451-2471, 2000.
 *
 *     a. = W. x + R. h_prev + b.
 *     i = σ(ai)    f = σ(af)    g = tanh(ag)    o = σ(ao)
 *     c = f * c_prev + i * g
 *     h = o * tanh(c)
 *
 * Options (the twin has their sources): peepholes ai += p_i c_prev, af += p_f c_prev,
 * ao += p_o c; gates that are omitted, hence 1; coupled gates f = 1 - i or i = 1 - f;
 * other activations; a clip of a.; full gate recurrence, where all gates of the step
 * before are states and reach a. by products; a projection h = W_hr m of m = o *
 * tanh(c), which is a second stage.
 *
 * Gate order: i f g o, as torch, without the gates that are not computed. The cache
 * holds i f g o in the places of their sums, c and h; tanh(c) and a gate that is
 * coupled are computed again, which costs less than reading them.
 *
 * One body serves all forms: the compiler sees it once with everything constant, once
 * with the usual activations and once with nothing known.
 * Twin: src/exactrnn/reference/cells/lstm.py.
 */
#include "kernels/cells/cell.h"
#include "kernels/math/activations.h"

/* For each form a function of its own: as parts of one, with registers and code laid
 * out in common, they cost a plain layer 10 % of this file's time. */
#define FORM_FUNCTION XR_NOINLINE static

enum { I, F, G, O, P, SUMS };

/* What a layer is like; pointers are NULL and numbers of states 0 where it has none. */
struct lstm_form {
    struct activation gate, candidate, output;
    const elem *p_i, *p_f, *p_o;
    int has_i, has_f, has_o; /* computed from sums */
    enum xr_coupled coupled;
    int state_i, state_f, state_o; /* gates that the next step sees */
    int projects;
};

XR_INLINE struct lstm_form plain_form(void)
{
    return (struct lstm_form){
        .gate = plain_activation(XR_SIGMOID),
        .candidate = plain_activation(XR_TANH),
        .output = plain_activation(XR_TANH),
        .has_i = 1,
        .has_f = 1,
        .has_o = 1,
    };
}

XR_INLINE const elem *find_peephole(const struct xr_cell_info *info, int sum,
                                    const elem *vectors, ptrdiff_t Hp)
{
    for (int k = 0; k < info->vectors; k++) {
        if (info->vector[k].sum == sum) return vectors + k * Hp;
    }
    return NULL;
}

XR_INLINE int find_state(const struct xr_cell_info *info, int sum)
{
    for (int k = 0; k < info->links; k++) {
        if (info->link[k].sum == sum) return info->link[k].state;
    }
    return 0;
}

/* The usual activations with the layer's options. */
XR_INLINE struct lstm_form usual_form(const struct xr_layer *layer,
                                      const struct xr_cell_info *info,
                                      const elem *vectors, ptrdiff_t Hp)
{
    struct lstm_form form = plain_form();
    form.p_i = find_peephole(info, I, vectors, Hp);
    form.p_f = find_peephole(info, F, vectors, Hp);
    form.p_o = find_peephole(info, O, vectors, Hp);
    form.has_i = info->sum[I].w >= 0;
    form.has_f = info->sum[F].w >= 0;
    form.has_o = info->sum[O].w >= 0;
    form.coupled = layer->options.coupled;
    form.state_i = find_state(info, I);
    form.state_f = find_state(info, F);
    form.state_o = find_state(info, O);
    form.projects = info->projects;
    return form;
}

XR_INLINE struct lstm_form general_form(struct lstm_form form,
                                        const struct xr_layer *layer)
{
    form.gate = layer_activation(layer, 0);
    form.candidate = layer_activation(layer, 1);
    form.output = free_activation(layer->activation[2]);
    return form;
}

static int has_usual_activations(const struct xr_layer *layer)
{
    return is_plain(layer, 0, XR_SIGMOID) && is_plain(layer, 1, XR_TANH) &&
           is_plain(layer, 2, XR_TANH);
}

static int has_no_options(const struct xr_cell_info *info)
{
    return info->w_blocks == 4 && !info->vectors && !info->links && !info->projects;
}

/* `p` is the gate's peephole at these units, or NULL; `c` is what it sees. */
XR_INLINE vec open_gate(const struct lstm_form *form, vec a, const elem *p, ptrdiff_t u,
                        vec c)
{
    if (p) a = vec_fma(vec_load(p + u), c, a);
    return activate(&form->gate, a);
}

/* Sets the gate that the coupling replaces. */
XR_INLINE void couple(enum xr_coupled coupled, vec *i, vec *f)
{
    if (coupled == XR_COUPLED_INPUT) *f = vec_sub(vec_set((elem)1), *i);
    if (coupled == XR_COUPLED_FORGET) *i = vec_sub(vec_set((elem)1), *f);
}

/* Gates i and f, candidate, and the cell state after the step. */
XR_INLINE void forward_memory(const struct forward_step *step,
                              const struct lstm_form *form)
{
    const ptrdiff_t Hp = step->Hp;
    const int is_i = form->has_i || form->coupled, is_f = form->has_f || form->coupled;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *sums = step->sums[b];
        vec c_prev = vec_load(step->prev[1][b] + u);
        vec i = vec_zero(), f = vec_zero();
        if (form->has_i) {
            i = open_gate(form, vec_load(sums + I * Hp + u), form->p_i, u, c_prev);
        }
        if (form->has_f) {
            f = open_gate(form, vec_load(sums + F * Hp + u), form->p_f, u, c_prev);
        }
        vec g = activate(&form->candidate, vec_load(sums + G * Hp + u));
        couple(form->coupled, &i, &f);
        vec entry = is_i ? vec_mul(i, g) : g;
        vec c = is_f ? vec_fma(f, c_prev, entry) : vec_add(c_prev, entry);
        vec_store(step->next[1][b] + u, vec_flush(c));
        if (form->state_i) {
            vec_store(step->next[form->state_i][b] + u, vec_flush(i));
        }
        if (form->state_f) {
            vec_store(step->next[form->state_f][b] + u, vec_flush(f));
        }
        if (step->keep) {
            if (form->has_i) vec_store(sums + I * Hp + u, i);
            if (form->has_f) vec_store(sums + F * Hp + u, f);
            vec_store(sums + G * Hp + u, g);
        }
    }
}

/* Gate o, which may see c, and the output. */
XR_INLINE void forward_output(const struct forward_step *step,
                              const struct lstm_form *form)
{
    const ptrdiff_t Hp = step->Hp;
    elem *const *out = form->projects ? step->operand[0] : step->next[0];
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        elem *ao = step->sums[b] + O * Hp;
        vec c = vec_load(step->next[1][b] + u);
        vec h = activate(&form->output, c);
        if (form->has_o) {
            vec o = open_gate(form, vec_load(ao + u), form->p_o, u, c);
            h = vec_mul(o, h);
            if (form->state_o) {
                vec_store(step->next[form->state_o][b] + u, vec_flush(o));
            }
            if (step->keep) vec_store(ao + u, o);
        }
        vec_store(out[b] + u, vec_flush(h));
    }
}

/* In two passes, so that no vector waits for another: a processor looks ahead about two
 * units of both together, and h waits for c as long as c for its gates. */
XR_INLINE void forward_units(const struct forward_step *step, struct lstm_form form)
{
    forward_memory(step, &form);
    forward_output(step, &form);
}

FORM_FUNCTION void plain_forward(const struct forward_step *step)
{
    forward_units(step, plain_form());
}

FORM_FUNCTION void usual_forward(const struct forward_step *step)
{
    forward_units(step, usual_form(step->layer, step->info, step->vectors, step->Hp));
}

FORM_FUNCTION void general_forward(const struct forward_step *step)
{
    const struct lstm_form usual =
        usual_form(step->layer, step->info, step->vectors, step->Hp);
    forward_units(step, general_form(usual, step->layer));
}

static void lstm_point_forward_0(const struct forward_step *step)
{
    if (!has_usual_activations(step->layer)) {
        general_forward(step);
    } else if (has_no_options(step->info)) {
        plain_forward(step);
    } else {
        usual_forward(step);
    }
}

static void lstm_point_forward_1(const struct forward_step *step)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec p = vec_load(step->sums[b] + P * step->Hp + u);
        vec_store(step->next[0][b] + u, vec_flush(p));
    }
}

/* h_prev has no elementwise path: dh starts again at 0. */
static void lstm_point_backward_1(const struct backward_step *step)
{
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        vec dh = vec_load(step->dstate[0][b] + u);
        vec_store(step->da[b] + P * step->Hp + u, vec_flush(dh));
        vec_store(step->dstate[0][b] + u, vec_zero());
    }
}

/* d * v, plus what the next step sends back to a gate it has seen. `state` is that
 * gate's gradient, which starts again at 0, or NULL. */
XR_INLINE vec join(vec d, vec v, elem *state)
{
    if (!state) return vec_mul(d, v);
    const vec sum = vec_fma(d, v, vec_load(state));
    vec_store(state, vec_zero());
    return sum;
}

XR_INLINE elem *gate_gradient(const struct backward_step *step, int state, ptrdiff_t b,
                              ptrdiff_t u)
{
    return state ? step->dstate[state][b] + u : NULL;
}

XR_INLINE vec close_gate(const struct lstm_form *form, vec dgate, vec gate)
{
    return vec_flush(vec_mul(dgate, slope(&form->gate, gate)));
}

XR_INLINE void backward_units(const struct backward_step *step, struct lstm_form form)
{
    const ptrdiff_t Hp = step->Hp;
    const int is_i = form.has_i || form.coupled, is_f = form.has_f || form.coupled;
    const elem *const *dh_rows =
        form.projects ? step->doperand[0] : (const elem *const *)step->dstate[0];
    const int is_whole = !step->truncated;
    struct vectors here = vectors_of(step->rows, step->begin, step->end);
    for (; here.b < here.rows; next_vector(&here)) {
        const ptrdiff_t b = here.b, u = here.u;
        const elem *sums = step->sums[b];
        elem *da = step->da[b];
        vec i = vec_zero(), f = vec_zero(), o = vec_zero();
        if (form.has_i) i = vec_load(sums + I * Hp + u);
        if (form.has_f) f = vec_load(sums + F * Hp + u);
        if (form.has_o) o = vec_load(sums + O * Hp + u);
        couple(form.coupled, &i, &f);
        vec g = vec_load(sums + G * Hp + u);
        vec c_prev = vec_load(step->prev[1][b] + u);
        vec y = activate(&form.output, vec_load(step->next[1][b] + u));
        vec dh = vec_load(dh_rows[b] + u);
        vec dc = vec_load(step->dstate[1][b] + u);

        vec dy = form.has_o ? vec_mul(dh, o) : dh;
        dc = vec_fma(dy, slope(&form.output, y), dc);
        if (form.has_o) {
            vec joined = join(dh, y, gate_gradient(step, form.state_o, b, u));
            vec dao = close_gate(&form, joined, o);
            vec_store(da + O * Hp + u, dao);
            if (form.p_o && is_whole) dc = vec_fma(vec_load(form.p_o + u), dao, dc);
        }
        vec dc_prev = is_f ? vec_mul(dc, f) : dc;
        if (form.has_i) {
            vec v = form.coupled ? vec_sub(g, c_prev) : g;
            vec joined = join(dc, v, gate_gradient(step, form.state_i, b, u));
            vec dai = close_gate(&form, joined, i);
            vec_store(da + I * Hp + u, dai);
            if (form.p_i && is_whole) {
                dc_prev = vec_fma(vec_load(form.p_i + u), dai, dc_prev);
            }
        }
        if (form.has_f) {
            vec v = form.coupled ? vec_sub(c_prev, g) : c_prev;
            vec joined = join(dc, v, gate_gradient(step, form.state_f, b, u));
            vec daf = close_gate(&form, joined, f);
            vec_store(da + F * Hp + u, daf);
            if (form.p_f && is_whole) {
                dc_prev = vec_fma(vec_load(form.p_f + u), daf, dc_prev);
            }
        }
        vec dg = is_i ? vec_mul(dc, i) : dc;
        vec dag = vec_mul(dg, slope(&form.candidate, g));

        vec_store(da + G * Hp + u, vec_flush(dag));
        if (!form.projects) vec_store(step->dstate[0][b] + u, vec_zero());
        vec_store(step->dstate[1][b] + u, vec_flush(dc_prev));
    }
}

FORM_FUNCTION void plain_backward(const struct backward_step *step)
{
    backward_units(step, plain_form());
}

FORM_FUNCTION void usual_backward(const struct backward_step *step)
{
    backward_units(step, usual_form(step->layer, step->info, step->vectors, step->Hp));
}

FORM_FUNCTION void general_backward(const struct backward_step *step)
{
    const struct lstm_form usual =
        usual_form(step->layer, step->info, step->vectors, step->Hp);
    backward_units(step, general_form(usual, step->layer));
}

/* With y = tanh(c):
 *     dao = dh * y * o'                    dc += dh * o * (1 - y*y)
 *     dai = dc * g * i'    daf = dc * c_prev * f'    dag = dc * i * (1 - g*g)
 *     dc_prev = dc * f     h_prev has no elementwise path
 * Peepholes: dc += p_o dao, dc_prev += p_i dai + p_f daf; not if truncated.
 * Coupled: dai = dc * (g - c_prev) * i', or daf = dc * (c_prev - g) * f'.
 * With a projection dh is dm.
 */
static void lstm_point_backward_0(const struct backward_step *step)
{
    if (!has_usual_activations(step->layer)) {
        general_backward(step);
    } else if (has_no_options(step->info)) {
        plain_backward(step);
    } else {
        usual_backward(step);
    }
}

static void lstm_adapt(const struct xr_layer *layer, struct xr_cell_info *info)
{
    static const unsigned letter[] = {
        [I] = XR_GATE_I, [F] = XR_GATE_F, [G] = 0, [O] = XR_GATE_O};
    const struct xr_options *wanted = &layer->options;
    unsigned absent = wanted->omit;
    if (wanted->coupled == XR_COUPLED_INPUT) absent |= XR_GATE_F;
    if (wanted->coupled == XR_COUPLED_FORGET) absent |= XR_GATE_I;

    int blocks = 0;
    for (int s = I; s <= O; s++) {
        const int is_absent = (letter[s] & absent) != 0;
        info->sum[s].w = info->sum[s].r = is_absent ? -1 : blocks++;
        if (is_absent || !letter[s]) continue;
        if (letter[s] & wanted->peepholes) {
            const int factor = s == O ? XR_NEXT_STATE + 1 : XR_PREV_STATE + 1;
            info->vector[info->vectors++] = (struct xr_vector){s, factor};
        }
        if (wanted->full_gate_recurrence) {
            info->link[info->links++] = (struct xr_link){s, info->states++};
        }
    }
    info->w_blocks = info->r_blocks = blocks;
    if (wanted->projects || layer->O != layer->H) {
        info->sums = SUMS;
        info->stages = 2;
        info->operands = info->projects = 1;
    }
}

extern const struct xr_cell XR_NAME(xr_cell_lstm);
const struct xr_cell XR_NAME(xr_cell_lstm) = {
    .info = {.name = "lstm",
             .w_blocks = 4,
             .r_blocks = 4,
             .states = 2,
             .sums = P,
             .stages = 1,
             .keeps_sums = 1,
             .sum = {[I] = {.name = "i", .w = 0, .r = 0},
                     [F] = {.name = "f", .w = 1, .r = 1},
                     [G] = {.name = "g", .w = 2, .r = 2},
                     [O] = {.name = "o", .w = 3, .r = 3},
                     [P] = {.name = "p",
                            .w = -1,
                            .r = 0,
                            .stage = 1,
                            .operand = 1,
                            .matrix = XR_HR,
                            .bias = XR_NO_BIAS}}},
    .adapt = lstm_adapt,
    .point_forward = {lstm_point_forward_0, lstm_point_forward_1},
    .point_backward = {lstm_point_backward_0, lstm_point_backward_1},
};
