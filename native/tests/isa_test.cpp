// Selection of instruction sets, and its errors.
#include "onebit/isa.h"

#include <cstdlib>
#include <stdexcept>

#include "check.h"
#include "onebit/engine.h"

using namespace onebit;

TEST(portable_always_runs) {
  CHECK(built_for(Isa::portable));
  CHECK(cpu_has(Isa::portable));
  CHECK(choose_isa("portable") == Isa::portable);
}

TEST(default_is_the_best_that_runs) {
  const Isa best = choose_isa();
  CHECK(built_for(best) && cpu_has(best));
  for (Isa isa : kIsas) CHECK_NOTE(!(isa > best && built_for(isa) && cpu_has(isa)), name(isa));
}

TEST(unknown_name_is_refused) {
  CHECK_THROWS(choose_isa("sse9"), std::invalid_argument, "isa=sse9 cannot run here; this CPU runs portable");
}

TEST(what_cannot_run_is_refused) {
  for (Isa isa : kIsas) {
    if (built_for(isa) && cpu_has(isa)) continue;
    CHECK_THROWS(choose_isa(name(isa)), std::invalid_argument, std::string(name(isa)) + " cannot run here");
  }
}

TEST(environment_forces_and_the_argument_wins) {
  setenv("ONEBIT_ISA", "portable", 1);
  CHECK(choose_isa() == Isa::portable);
  setenv("ONEBIT_ISA", "nothing", 1);
  CHECK_THROWS(choose_isa(), std::invalid_argument, "ONEBIT_ISA=nothing cannot run here");
  CHECK_THROWS(Builder("x", {1, 1, 1}, {0}, {1}), std::invalid_argument, "ONEBIT_ISA=nothing");
  CHECK(choose_isa("portable") == Isa::portable);
  unsetenv("ONEBIT_ISA");
}

TEST(every_family_ends_with_a_portable_kernel) {
  const auto all = all_kernels();
  for (size_t i = 0; i < all.size(); ++i) {
    const bool last = i + 1 == all.size() || all[i + 1].family != all[i].family;
    CHECK_NOTE(last == (all[i].isa == Isa::portable), all[i].name);
  }
}

RUN_TESTS()
