// The limits that profiles are compared with, and the time of a kernel alone: that they are measured, not how large
// they are.
#include "onebit/limits.h"

#include <cmath>
#include <stdexcept>

#include "check.h"

using namespace onebit;

TEST(limits_of_vector_instructions_are_measured) {
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    for (const size_t threads : {1, 2}) {
      const Limits limits = measure_limits(isa, threads);
      for (const double limit : {limits.binary, limits.int8, limits.float32}) {
        CHECK_NOTE((limit > 0) == (isa != Isa::portable), name(isa));
        CHECK_NOTE(std::isfinite(limit), name(isa));
      }
    }
  }
}

TEST(kernels_are_timed) {
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    const double seconds = time_binary_kernel(isa, {5, 7, 33}, 17, 3, 2);
    CHECK_NOTE(seconds > 0 && std::isfinite(seconds), name(isa));
  }
}

TEST(mistakes_are_refused) {
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) CHECK_THROWS(measure_limits(isa), std::invalid_argument, "cannot run here");
  }
  CHECK_THROWS(measure_limits(Isa::portable, 0), std::invalid_argument, "threads must be from 1 to 1024, got 0");
  CHECK_THROWS(time_binary_kernel(Isa::portable, {0, 7, 64}, 64, 1, 1), std::invalid_argument, "from 1 to 8192, got 0");
  CHECK_THROWS(time_binary_kernel(Isa::portable, {9, 7, 64}, 64, 9, 1), std::invalid_argument, "larger than the map");
}

RUN_TESTS()
