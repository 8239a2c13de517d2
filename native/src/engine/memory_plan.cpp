// Where each value of a network lies: largest first, each at the lowest place free during its life. Values that take
// the place of others are planned as one that lives as long as all of them.
#include "engine/memory_plan.h"

#include <algorithm>
#include <numeric>

#include "engine/aligned.h"
#include "kernels/tile.h"

namespace onebit {

MemoryPlan plan_memory(std::vector<Lifetime> lifetimes) {
  std::vector<size_t> place(lifetimes.size());  // the value in whose place each lies: itself, or an earlier one
  std::iota(place.begin(), place.end(), size_t{0});
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    const size_t over = lifetimes[i].over;
    if (over == Lifetime::kNothing || lifetimes[over].bytes != lifetimes[i].bytes) continue;
    Lifetime& whole = lifetimes[place[over]];
    if (whole.last != lifetimes[i].first) continue;
    whole.last = lifetimes[i].last;
    place[i] = place[over];
  }
  const auto size = [&](size_t i) { return round_up(lifetimes[i].bytes, AlignedBytes::kAlignment); };
  std::vector<size_t> order;
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    if (place[i] == i) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return size(a) > size(b); });

  MemoryPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<size_t> placed;  // by offset
  for (const size_t i : order) {
    size_t offset = 0;
    for (const size_t other : placed) {
      const bool together = lifetimes[i].first <= lifetimes[other].last && lifetimes[other].first <= lifetimes[i].last;
      if (!together) continue;
      if (offset + size(i) <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + size(other));
    }
    plan.offsets[i] = offset;
    plan.bytes = std::max(plan.bytes, offset + size(i));
    const auto after = [&](size_t value, size_t other) { return value < plan.offsets[other]; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset, after), i);
  }
  for (size_t i = 0; i < lifetimes.size(); ++i) plan.offsets[i] = plan.offsets[place[i]];
  return plan;
}

}  // namespace onebit
