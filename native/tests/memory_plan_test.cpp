// Values whose lifetimes overlap never share memory, and memory is reused.
#include "engine/memory_plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <random>

#include "check.h"

using namespace onebit;

TEST(chain_needs_two_places) {
  const MemoryPlan plan = plan_memory({{64, 0, 1}, {64, 1, 2}, {64, 2, 3}, {64, 3, 4}});
  CHECK(plan.bytes == 128);
}

TEST(a_value_overwrites_the_one_it_is_computed_from) {
  // A residual stream 0 -> 1 -> 2 and another value; 3 must not reuse the memory of 0, which is read later.
  const MemoryPlan plan = plan_memory({{64, 0, 1}, {64, 1, 2, 0}, {64, 2, 5, 1}, {64, 2, 3}});
  CHECK(plan.bytes == 128);
  CHECK(plan.offsets[0] == plan.offsets[1] && plan.offsets[1] == plan.offsets[2] && plan.offsets[3] != plan.offsets[2]);
  const MemoryPlan apart = plan_memory({{64, 0, 2}, {64, 1, 3, 0}, {32, 3, 4, 1}});
  CHECK(apart.offsets[0] != apart.offsets[1] && apart.offsets[2] != apart.offsets[1]);
}

namespace {

// No two values with overlapping lifetimes share memory: sweeps over time and keeps the live values by offset.
void check_plan(const std::vector<Lifetime>& lives, const MemoryPlan& plan) {
  std::vector<size_t> by_first(lives.size()), by_last(lives.size());
  std::iota(by_first.begin(), by_first.end(), size_t{0});
  by_last = by_first;
  std::sort(by_first.begin(), by_first.end(), [&](size_t a, size_t b) { return lives[a].first < lives[b].first; });
  std::sort(by_last.begin(), by_last.end(), [&](size_t a, size_t b) { return lives[a].last < lives[b].last; });
  std::map<size_t, size_t> living;  // offset -> end
  auto dead = by_last.begin();
  for (const size_t i : by_first) {
    for (; lives[*dead].last < lives[i].first; ++dead) living.erase(plan.offsets[*dead]);
    const size_t begin = plan.offsets[i], end = begin + lives[i].bytes;
    CHECK(begin % 64 == 0 && end <= plan.bytes);
    const auto next = living.lower_bound(begin);
    CHECK(next == living.end() || end <= next->first);
    CHECK(next == living.begin() || std::prev(next)->second <= begin);
    living[begin] = end;
  }
}

}  // namespace

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
    check_plan(lives, plan);
  }
}

// More values than the quadratic planner takes: with short lifetimes, long ones, and all from the start or to the end.
TEST(many_values_are_planned_fast) {
  constexpr size_t kValues = 200000;
  std::mt19937 random(2);
  for (const size_t longest : {size_t{1}, size_t{50}, kValues}) {
    std::vector<Lifetime> lives;
    std::vector<size_t> change(2 * kValues + 2);  // of the live bytes
    for (size_t i = 0; i < kValues; ++i) {
      lives.push_back({1 + random() % 1000, i, i + random() % (longest + 1)});
      const size_t size = (lives.back().bytes + 63) / 64 * 64;
      change[i] += size;
      change[lives.back().last + 1] -= size;
    }
    size_t most = 0, now = 0;
    for (const size_t c : change) most = std::max(most, now += c);
    const MemoryPlan plan = plan_memory(lives);
    check_plan(lives, plan);
    CHECK_NOTE(plan.bytes < most + most / 2 + 16384, std::to_string(plan.bytes) + " of " + std::to_string(most));
  }
}

RUN_TESTS()
