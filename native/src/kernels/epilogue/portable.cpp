// The epilogue in plain C++, for any CPU.
#include "kernels/vec/portable.h"

#include "kernels/epilogue/epilogue.h"

namespace onebit {
namespace {

constexpr size_t kRegisters = 8;  // vectors that are processed at once

}  // namespace
}  // namespace onebit

#include "kernels/epilogue/body.h"

namespace onebit {
const EpilogueKernel epilogue_portable = {
    .isa = Isa::portable,
    .name = "epilogue_portable",
    .floats = finish_floats,
    .halves = finish_halves,
    .counts = finish_counts,
    .windows = finish_windows,
    .widen = widen,
};
}  // namespace onebit
