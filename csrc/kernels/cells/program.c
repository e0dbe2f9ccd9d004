/* A cell as a program: the equations are the caller's, a list of operations for each
 * stage (base/program.h). This file runs the lists.
 *
 * Each operation goes through a block of some rows and units before the next one does:
 * so what to do is looked up once for many vectors, and its operands are in the L1. A
 * block is as large as its registers fit into XR_BLOCK_ELEMENTS. Which blocks there are
 * cannot show in the bits, as units know nothing of each other.
 *
 * Which values lie in the places of the sums, and which gradients one stage notes for
 * the next, is settled where the program is made (src/exactrnn/_graph/program.py).
 *
 * What a stage needs of whole rows (moments.h) is found for a few rows before their
 * operations begin. Lanes that share units find it each for itself, from rows that the
 * stage before has left to all of them.
 * Twin: src/exactrnn/reference/cells/program.py, which runs the equations themselves.
 */
#include "base/program.h"

#include "kernels/cells/cell.h"
#include "kernels/cells/moments.h"
#include "kernels/math/activations.h"

/* The rows of one step, forward or back, by space; what a step has not is NULL. */
struct rows {
    ptrdiff_t Hp;
    elem *const *sums, *const *da;
    elem *const *const *prev, *const *const *next, *const *const *operand;
    elem *const *const *dstate, *const *const *doperand;
    const elem *vectors;
    const elem *numbers; /* [rows, XR_MAX_MOMENTS, ROW_NUMBERS] from `numbered` on */
    ptrdiff_t numbered;  /* a row */
};

enum { NUMBERS_OF_ROW = XR_MAX_MOMENTS * ROW_NUMBERS, ROWS_NUMBERED = 16 };

/* Some rows and units of a step, and the registers, [units] for each row and each. */
struct block {
    const struct rows *rows;
    ptrdiff_t first, count; /* rows */
    ptrdiff_t begin, units; /* a whole number of vectors */
    elem *registers;
};

/* Row r of an operand begins at rows[r] + at, or without rows at first + r * step. */
struct lines {
    elem *const *rows;
    ptrdiff_t at;
    elem *first;
    ptrdiff_t step;
};

static struct lines lines_of(const struct block *block, struct xr_place place)
{
    const struct rows *all = block->rows;
    const ptrdiff_t at = block->begin, in_sums = at + place.index * all->Hp;
    const ptrdiff_t i = block->first;
    switch ((enum xr_space)place.space) {
    case XR_IN_REGISTER: break;
    case XR_IN_SUM: return (struct lines){.rows = all->sums + i, .at = in_sums};
    case XR_IN_PREV:
        return (struct lines){.rows = all->prev[place.index] + i, .at = at};
    case XR_IN_NEXT:
        return (struct lines){.rows = all->next[place.index] + i, .at = at};
    case XR_IN_OPERAND:
        return (struct lines){.rows = all->operand[place.index] + i, .at = at};
    case XR_IN_VECTOR: return (struct lines){.first = (elem *)all->vectors + in_sums};
    case XR_IN_DA: return (struct lines){.rows = all->da + i, .at = in_sums};
    case XR_IN_DSTATE:
        return (struct lines){.rows = all->dstate[place.index] + i, .at = at};
    case XR_IN_DOPERAND:
        return (struct lines){.rows = all->doperand[place.index] + i, .at = at};
    case XR_IN_ROW:
        return (struct lines){
            .first = (elem *)all->numbers + (i - all->numbered) * NUMBERS_OF_ROW +
                     place.index * ROW_NUMBERS,
            .step = NUMBERS_OF_ROW,
        };
    }
    elem *own = block->registers + place.index * block->count * block->units;
    return (struct lines){.first = own, .step = block->units};
}

XR_INLINE elem *line(const struct lines *lines, ptrdiff_t r)
{
    return lines->rows ? lines->rows[r] + lines->at : lines->first + r * lines->step;
}

XR_INLINE vec as_number(vmask mask)
{
    return vec_select(mask, vec_set((elem)1), vec_zero());
}

/* What an operation makes of a vector of each input; `code` is a constant. */
XR_INLINE vec result(const enum xr_code code, vec a, vec b, vec c)
{
    switch (code) {
    case XR_OP_ADD: return vec_add(a, b);
    case XR_OP_SUB: return vec_sub(a, b);
    case XR_OP_MUL: return vec_mul(a, b);
    case XR_OP_DIV: return vec_div(a, b);
    case XR_OP_FMA: return vec_fma(a, b, c);
    case XR_OP_MIX: return vec_fma(a, b, vec_mul(vec_sub(vec_set((elem)1), a), c));
    case XR_OP_NEG: return vec_neg(a);
    case XR_OP_ABS: return vec_abs(a);
    case XR_OP_SQRT: return vec_sqrt(a);
    case XR_OP_MIN: return vec_min(a, b);
    case XR_OP_MAX: return vec_max(a, b);
    case XR_OP_LT: return as_number(vec_lt(a, b));
    case XR_OP_LE: return as_number(vec_le(a, b));
    case XR_OP_EQ: return as_number(vec_eq(a, b));
    case XR_OP_WHERE: return vec_select(vec_eq(a, vec_zero()), c, b);
    case XR_OP_EXP: return vec_exp(a);
    case XR_OP_EXPM1: return vec_expm1(a);
    case XR_OP_LOG: return vec_log(a);
    case XR_OP_SOFTPLUS: return vec_softplus(a);
    case XR_OP_TANH: return vec_tanh(a);
    case XR_OP_SIGMOID: return vec_sigmoid(a);
    case XR_OP_RELU: return relu(a);
    case XR_OP_TANH_SLOPE: return tanh_slope(a);
    case XR_OP_SIGMOID_SLOPE: return sigmoid_slope(a);
    case XR_OP_COPY:
    case XR_OP_NORM:
    case XR_OP_NORM_SLOPE:
    case XR_OP_CODES: break;
    }
    return a;
}

/* The two operations with numbers of the row. */
XR_INLINE void pass_norm(const struct block *block, const struct xr_operation *op,
                         const int slope, const int flush)
{
    const struct lines out = lines_of(block, op->out), x = lines_of(block, op->in[0]);
    const struct lines normed = lines_of(block, op->in[slope ? 1 : 0]);
    const struct lines numbers = lines_of(block, op->in[slope ? 2 : 1]);
    for (ptrdiff_t r = 0; r < block->count; r++) {
        const elem *number = line(&numbers, r), *a = line(&x, r), *n = line(&normed, r);
        const vec mean = vec_set(number[0]);
        const vec mean_dn = vec_set(slope ? number[1] : 0);
        const vec scale = vec_set(number[slope ? 2 : 1]);
        elem *to = line(&out, r);
        for (ptrdiff_t u = 0; u < block->units; u += VEC_LANES) {
            vec made = vec_sub(vec_load(a + u), mean);
            if (slope) {
                made = vec_fma(vec_neg(vec_load(n + u)), mean_dn, made);
            }
            made = vec_mul(made, scale);
            vec_store(to + u, flush ? vec_flush(made) : made);
        }
    }
}

/* An operation on a block; `code` and `flush` are constants. */
XR_INLINE void pass_block(const struct block *block, const struct xr_operation *op,
                          const enum xr_code code, const int flush)
{
    const struct lines out = lines_of(block, op->out);
    const struct lines in[3] = {lines_of(block, op->in[0]), lines_of(block, op->in[1]),
                                lines_of(block, op->in[2])};
    for (ptrdiff_t r = 0; r < block->count; r++) {
        elem *to = line(&out, r);
        const elem *a = line(&in[0], r), *b = line(&in[1], r), *c = line(&in[2], r);
        for (ptrdiff_t u = 0; u < block->units; u += VEC_LANES) {
            const vec made =
                result(code, vec_load(a + u), vec_load(b + u), vec_load(c + u));
            vec_store(to + u, flush ? vec_flush(made) : made);
        }
    }
}

/* Chooses the code of an operation; each is compiled on its own, with flush and
 * without. */
static void run_operation(const struct block *block, const struct xr_operation *op)
{
#define CASE(code)                                            \
    case code:                                                \
        if (op->flush) return pass_block(block, op, code, 1); \
        return pass_block(block, op, code, 0)
    switch ((enum xr_code)op->code) {
        CASE(XR_OP_COPY);
        CASE(XR_OP_ADD);
        CASE(XR_OP_SUB);
        CASE(XR_OP_MUL);
        CASE(XR_OP_DIV);
        CASE(XR_OP_FMA);
        CASE(XR_OP_MIX);
        CASE(XR_OP_NEG);
        CASE(XR_OP_ABS);
        CASE(XR_OP_SQRT);
        CASE(XR_OP_MIN);
        CASE(XR_OP_MAX);
        CASE(XR_OP_LT);
        CASE(XR_OP_LE);
        CASE(XR_OP_EQ);
        CASE(XR_OP_WHERE);
        CASE(XR_OP_EXP);
        CASE(XR_OP_EXPM1);
        CASE(XR_OP_LOG);
        CASE(XR_OP_SOFTPLUS);
        CASE(XR_OP_TANH);
        CASE(XR_OP_SIGMOID);
        CASE(XR_OP_RELU);
        CASE(XR_OP_TANH_SLOPE);
        CASE(XR_OP_SIGMOID_SLOPE);
    case XR_OP_NORM: return pass_norm(block, op, 0, op->flush);
    case XR_OP_NORM_SLOPE: return pass_norm(block, op, 1, op->flush);
    case XR_OP_CODES: break;
    }
#undef CASE
}

/* Rows and units of a step that are to be gone through. */
struct extent {
    ptrdiff_t first, rows; /* from row `first` to row `rows` - 1 */
    ptrdiff_t begin, end;
};

/* Runs a list on rows and units, block by block. */
static void run_list(const struct xr_operations *operations, int registers,
                     const struct rows *rows, struct extent extent)
{
    _Alignas(XR_ALIGNMENT) elem memory[XR_BLOCK_ELEMENTS];
    const ptrdiff_t most = XR_BLOCK_ELEMENTS / (registers > 0 ? registers : 1);
    const ptrdiff_t all = extent.end - extent.begin;
    const ptrdiff_t units = all < most ? all : most / VEC_LANES * VEC_LANES;
    const ptrdiff_t together = units > 0 ? most / units : 1;
    struct block block = {.rows = rows, .registers = memory};
    for (ptrdiff_t i = extent.first; i < extent.rows; i += together) {
        block.first = i;
        block.count = extent.rows - i < together ? extent.rows - i : together;
        for (ptrdiff_t u = extent.begin; u < extent.end; u += units) {
            block.begin = u;
            block.units = extent.end - u < units ? extent.end - u : units;
            for (int k = 0; k < operations->count; k++) {
                run_operation(&block, &operations->list[k]);
            }
        }
    }
}

/* Finds the numbers of one row, `block`, of all its H units. */
static void find_numbers(const struct xr_moments_list *wanted,
                         const struct block *block, elem *numbers)
{
    const ptrdiff_t H = block->units;
    for (int k = 0; k < wanted->count; k++, numbers += ROW_NUMBERS) {
        const struct xr_moments *moments = &wanted->list[k];
        const elem *x[XR_MAX_GROUP];
        struct graded rows[XR_MAX_GROUP];
        for (int j = 0; j < moments->count; j++) {
            const struct lines own = lines_of(block, moments->x[j]);
            x[j] = line(&own, 0);
            if (moments->of >= 0) {
                const struct lines gain = lines_of(block, moments->gain[j]);
                const struct lines g = lines_of(block, moments->g[j]);
                rows[j] = (struct graded){x[j], line(&gain, 0), line(&g, 0)};
            }
        }
        if (moments->of < 0) {
            find_moments(x, moments->group, H, numbers);
        } else {
            find_slopes(rows, moments->count, moments->group, H,
                        numbers + (moments->of - k) * ROW_NUMBERS, numbers);
        }
    }
}

/* Runs a stage: the numbers of a few rows, then its operations on them. */
static void run_stage(const struct xr_program *program,
                      const struct xr_operations *operations,
                      const struct xr_moments_list *wanted, struct rows *rows,
                      ptrdiff_t H, struct extent extent)
{
    if (operations->count == 0) {
        return;
    }
    if (wanted->count == 0) {
        run_list(operations, program->registers, rows, extent);
        return;
    }
    elem numbers[ROWS_NUMBERED * NUMBERS_OF_ROW];
    rows->numbers = numbers;
    for (ptrdiff_t i = 0; i < extent.rows; i += ROWS_NUMBERED) {
        struct extent part = extent;
        part.first = i;
        part.rows = extent.rows - i < ROWS_NUMBERED ? extent.rows : i + ROWS_NUMBERED;
        rows->numbered = i;
        for (ptrdiff_t r = i; r < part.rows; r++) {
            const struct block row = {.rows = rows, .first = r, .count = 1, .units = H};
            find_numbers(wanted, &row, numbers + (r - i) * NUMBERS_OF_ROW);
        }
        run_list(operations, program->registers, rows, part);
    }
    rows->numbers = NULL;
}

static void forward_stage(const struct forward_step *step, int stage)
{
    const struct xr_program *program = step->layer->program;
    struct rows rows = {
        .Hp = step->Hp,
        .sums = step->sums,
        .prev = (elem *const *const *)step->prev,
        .next = step->next,
        .operand = step->operand,
        .vectors = step->vectors,
    };
    run_stage(program, &program->forward[stage], &program->forward_rows[stage], &rows,
              step->layer->H, (struct extent){0, step->rows, step->begin, step->end});
}

static void backward_stage(const struct backward_step *step, int stage)
{
    const struct xr_program *program = step->layer->program;
    struct rows rows = {
        .Hp = step->Hp,
        .sums = (elem *const *)step->sums,
        .prev = (elem *const *const *)step->prev,
        .next = (elem *const *const *)step->next,
        .vectors = step->vectors,
        .da = step->da,
        .dstate = step->dstate,
        .doperand = (elem *const *const *)step->doperand,
    };
    run_stage(program, &program->backward[stage], &program->backward_rows[stage], &rows,
              step->layer->H, (struct extent){0, step->rows, step->begin, step->end});
}

static void program_point_forward_0(const struct forward_step *step)
{
    forward_stage(step, 0);
}

static void program_point_forward_1(const struct forward_step *step)
{
    forward_stage(step, 1);
}

static void program_point_forward_2(const struct forward_step *step)
{
    forward_stage(step, 2);
}

static void program_point_forward_3(const struct forward_step *step)
{
    forward_stage(step, 3);
}

static void program_point_forward_4(const struct forward_step *step)
{
    forward_stage(step, 4);
}

static void program_point_forward_5(const struct forward_step *step)
{
    forward_stage(step, 5);
}

static void program_point_backward_5(const struct backward_step *step)
{
    backward_stage(step, 5);
}

static void program_point_backward_4(const struct backward_step *step)
{
    backward_stage(step, 4);
}

static void program_point_backward_3(const struct backward_step *step)
{
    backward_stage(step, 3);
}

static void program_point_backward_2(const struct backward_step *step)
{
    backward_stage(step, 2);
}

static void program_point_backward_1(const struct backward_step *step)
{
    backward_stage(step, 1);
}

static void program_point_backward_0(const struct backward_step *step)
{
    backward_stage(step, 0);
}

/* A layer without a program, as one whose cell alone is asked for, stays as it is. */
static void adapt(const struct xr_layer *layer, struct xr_cell_info *info)
{
    if (layer->program != NULL) {
        *info = layer->program->info;
    }
}

extern const struct xr_cell XR_NAME(xr_cell_program);
const struct xr_cell XR_NAME(xr_cell_program) = {
    .info = {.name = "program", .states = 1, .stages = 1, .cells = 1},
    .adapt = adapt,
    .point_forward = {program_point_forward_0, program_point_forward_1,
                      program_point_forward_2, program_point_forward_3,
                      program_point_forward_4, program_point_forward_5},
    .point_backward = {program_point_backward_0, program_point_backward_1,
                       program_point_backward_2, program_point_backward_3,
                       program_point_backward_4, program_point_backward_5},
};
