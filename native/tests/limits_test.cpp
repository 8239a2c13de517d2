// The limits that profiles are compared with, and the time of a kernel alone.
#include "onebit/limits.h"

#include <stdexcept>

#include "check.h"

using namespace onebit;

// Under sanitizers and emulators, relative times mean nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(ONEBIT_EMULATED)
constexpr bool kTimesCount = false;
#else
constexpr bool kTimesCount = true;
#endif

TEST(limits_are_above_what_the_kernels_reach) {
  constexpr size_t kSide = 14, kChannels = 128;
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    const Limits limits = measure_limits(isa);
    CHECK_NOTE((limits.binary > 0) == (isa != Isa::portable), name(isa));
    CHECK_NOTE((limits.float32 > 0) == (isa != Isa::portable), name(isa));
    CHECK_NOTE((limits.int8 > 0) == (isa != Isa::portable), name(isa));
    const double seconds = time_binary_kernel(isa, {kSide, kSide, kChannels}, kChannels, 3, 20);
    CHECK_NOTE(seconds > 0, name(isa));
    const double reached = 9.0 * kChannels * kChannels * kSide * kSide / seconds;
    if (isa == Isa::portable || !kTimesCount) continue;
    CHECK_NOTE(reached < 1.2 * limits.binary, name(isa));  // 9/8 where three words are counted at once
    CHECK_NOTE(limits.binary > limits.int8 && limits.int8 > limits.float32, name(isa));
  }
}

TEST(threads_do_more_together_but_not_more_than_each_alone) {
  for (const Isa isa : kIsas) {
    if (!built_for(isa) || !cpu_has(isa)) continue;
    const double alone = measure_limits(isa).float32, together = measure_limits(isa, 2).float32;
    if (kTimesCount) CHECK_NOTE(together <= 2.2 * alone && together >= 0.5 * alone, name(isa));
  }
}

TEST(time_grows_with_the_work) {
  const double less = time_binary_kernel(Isa::portable, {5, 7, 33}, 17, 1, 50);
  const double more = time_binary_kernel(Isa::portable, {5, 7, 33}, 17, 5, 50);
  if (kTimesCount) CHECK(more > 3 * less);  // 25 taps for 1
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
