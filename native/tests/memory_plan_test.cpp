// Values that live together never overlap, and memory is reused.
#include "engine/memory_plan.h"

#include <random>

#include "check.h"

using namespace onebit;

TEST(chain_needs_two_places) {
  const MemoryPlan plan = plan_memory({{64, 0, 1}, {64, 1, 2}, {64, 2, 3}, {64, 3, 4}});
  CHECK(plan.bytes == 128);
}

TEST(a_value_takes_the_place_of_the_one_it_is_made_of) {
  // A residual stream 0 -> 1 -> 2, with a value beside it; 3 may not take the place of 0, which is read later.
  const MemoryPlan plan = plan_memory({{64, 0, 1}, {64, 1, 2, 0}, {64, 2, 5, 1}, {64, 2, 3}});
  CHECK(plan.bytes == 128);
  CHECK(plan.offsets[0] == plan.offsets[1] && plan.offsets[1] == plan.offsets[2] && plan.offsets[3] != plan.offsets[2]);
  const MemoryPlan apart = plan_memory({{64, 0, 2}, {64, 1, 3, 0}, {32, 3, 4, 1}});
  CHECK(apart.offsets[0] != apart.offsets[1] && apart.offsets[2] != apart.offsets[1]);
}

TEST(living_values_do_not_overlap) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Lifetime> lives;
    size_t sum = 0;
    for (int i = 0; i < 30; ++i) {
      const size_t first = random() % 20, last = first + random() % 6;
      lives.push_back({1 + random() % 1000, first, last});
      sum += (lives.back().bytes + 63) / 64 * 64;
    }
    const MemoryPlan plan = plan_memory(lives);
    CHECK(plan.bytes <= sum);
    for (size_t a = 0; a < lives.size(); ++a) {
      CHECK(plan.offsets[a] % 64 == 0 && plan.offsets[a] + lives[a].bytes <= plan.bytes);
      for (size_t b = 0; b < a; ++b) {
        const bool together = lives[a].first <= lives[b].last && lives[b].first <= lives[a].last;
        const bool apart =
            plan.offsets[a] + lives[a].bytes <= plan.offsets[b] || plan.offsets[b] + lives[b].bytes <= plan.offsets[a];
        CHECK(!together || apart);
      }
    }
  }
}

RUN_TESTS()
