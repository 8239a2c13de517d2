// Plain C++ has no instructions of its own, so there is no limit to measure.
#include "kernels/limits/limits.h"

namespace onebit {

const LimitLoops limits_portable = {.isa = Isa::portable};

}  // namespace onebit
