// Plain C++ has no instructions of its own, so no limit either.
#include "kernels/limits/limits.h"

namespace onebit {

const LimitLoops limits_portable = {Isa::portable, {}, {}, {}};

}  // namespace onebit
