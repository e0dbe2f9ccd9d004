/* Grid LSTM in N dimensions: exactrnn/grid.h says what it is, geometry.h and run.h how
 * its points are visited; pack.h, point.h, sides.h, forward.h, backward.h and
 * gradients.h are the parts. This file puts backward together and fills the table.
 */
#include "base/tables.h"

#include "kernels/grid/backward.h"
#include "kernels/grid/forward.h"
#include "kernels/grid/gradients.h"
#include "kernels/grid/sides.h"

static struct grid_run grid_backward_run(const struct xr_grid_problem *problem,
                                         struct arena *arena)
{
    struct grid_run run = grid_make_run(problem, arena);
    const ptrdiff_t inputs = grid_widest_input(&run);
    const ptrdiff_t widest = max_of(GRID_GATES * run.Hp, inputs);
    for (int k = 0; k < run.N; k++) {
        const ptrdiff_t row = grid_gates(run.block, k) * run.Hp;
        const ptrdiff_t ends = run.lines[k] * run.B * run.Hp;
        run.da[k] = arena_take(arena, run.points * run.B * row, sizeof(elem));
        run.dh[k] = arena_take(arena, ends, sizeof(elem));
        if (grid_has_memory(&run, k)) {
            run.dm[k] = arena_take(arena, ends, sizeof(elem));
        }
    }
    run.thread_buffer_size = max_of(grid_buffer_size(&run), GRID_ROWS * inputs);
    run.thread_buffers =
        arena_take(arena, run.threads * run.thread_buffer_size, sizeof(elem));
    run.zeros = arena_take(arena, widest, sizeof(elem));
    if (arena->memory != NULL) {
        memset(run.zeros, 0, (size_t)widest * sizeof(elem));
    }
    return run;
}

/* The last phase is that of the gradients of inputs and weights. */
static void grid_backward_item(void *context, ptrdiff_t phase, int item,
                               struct xr_watch *watch)
{
    const struct grid_run *run = context;
    if (phase < run->loop_phases) {
        grid_backward_waves(run, phase, item, watch);
    } else {
        grid_input_gradients(run, item, watch);
        grid_side_gradients(run, item, watch);
        grid_weight_gradients(run, item, watch);
    }
}

static void grid_backward(const struct xr_grid_problem *problem)
{
    struct arena arena = {.memory = problem->scratch};
    struct grid_run run = grid_backward_run(problem, &arena);
    run.team = xr_team_now(run.threads, run.work);
    run.loop_phases = grid_goes_by_waves(&run) ? run.waves : 1;
    grid_take_gradients(&run);
    const struct xr_work work = {
        .body = grid_backward_item,
        .context = &run,
        .phases = run.loop_phases + 1,
        .items = run.team,
        .multiplications = run.work,
    };
    if (!xr_run(&work, run.team, problem->stop)) {
        grid_give_gradients(&run);
    }
}

static size_t grid_scratch_bytes(const struct xr_grid_problem *problem, int backward)
{
    struct arena arena = {0};
    if (backward) {
        grid_backward_run(problem, &arena);
    } else {
        grid_forward_run(problem, &arena);
    }
    return arena.used;
}

extern const struct xr_grid XR_NAME(xr_grid);

const struct xr_grid XR_NAME(xr_grid) = {
    .packed_bytes = grid_packed_bytes,
    .pack = grid_pack_forward,
    .pack_backward = grid_pack_backward,
    .side_bytes = grid_side_bytes,
    .pack_side = grid_pack_side,
    .pack_side_backward = grid_pack_side_backward,
    .cache_layout = grid_cache_layout,
    .scratch_bytes = grid_scratch_bytes,
    .forward = grid_forward,
    .backward = grid_backward,
};
