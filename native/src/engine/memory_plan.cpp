// Memory planning. A value and those that overwrite it are planned as one value with the union of their lifetimes.
//
// Greedy by size: the largest value first, each at the lowest offset that is free during its lifetime. For all networks
// of the zoo this reaches the lower bound, the most bytes that are alive at a time. Its time is quadratic in the number
// of values, so it is limited to the largest ones, of which real networks have fewer. All others are allocated from
// separate memory in order of time, by best fit, in n log n.
#include "engine/memory_plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "base/aligned.h"
#include "kernels/tile.h"

namespace onebit {
namespace {

constexpr size_t kLargest = 4096;

size_t size(const Lifetime& life) { return round_up(life.bytes, AlignedBytes::kAlignment); }

// Free blocks of memory that grows where none is large enough.
class FreeList {
 public:
  explicit FreeList(size_t begin) : end_(begin) {}

  size_t end() const { return end_; }

  size_t take(size_t size) {
    const auto fitting = by_size_.lower_bound({size, 0});
    if (fitting != by_size_.end()) {
      const auto [found, offset] = *fitting;
      remove(offset);
      if (found > size) add(offset + size, found - size);
      return offset;
    }
    size_t offset = end_;
    if (!by_offset_.empty()) {  // extends a free block at the end
      const auto [last, last_size] = *by_offset_.rbegin();
      if (last + last_size == end_) {
        offset = last;
        remove(last);
      }
    }
    end_ = offset + size;
    return offset;
  }

  void give_back(size_t offset, size_t size) {
    const auto after = by_offset_.lower_bound(offset);
    if (after != by_offset_.end() && after->first == offset + size) {
      size += after->second;
      remove(after->first);
    }
    const auto next = by_offset_.lower_bound(offset);
    if (next != by_offset_.begin()) {
      const auto [before, before_size] = *std::prev(next);
      if (before + before_size == offset) {
        remove(before);
        return add(before, before_size + size);
      }
    }
    add(offset, size);
  }

 private:
  void add(size_t offset, size_t size) {
    by_offset_.emplace(offset, size);
    by_size_.emplace(size, offset);
  }
  void remove(size_t offset) {
    by_size_.erase({by_offset_.at(offset), offset});
    by_offset_.erase(offset);
  }

  size_t end_;
  std::map<size_t, size_t> by_offset_;
  std::set<std::pair<size_t, size_t>> by_size_;
};

// Both place the values with the numbers from `begin` to `end`.
using Numbers = std::vector<size_t>::iterator;

void place_by_size(const std::vector<Lifetime>& lifetimes, Numbers begin, Numbers end, MemoryPlan& plan) {
  std::vector<size_t> placed;  // by offset
  for (Numbers i = begin; i != end; ++i) {
    const Lifetime& life = lifetimes[*i];
    size_t offset = 0;
    for (const size_t other : placed) {
      const bool together = life.first <= lifetimes[other].last && lifetimes[other].first <= life.last;
      if (!together) continue;
      if (offset + size(life) <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + size(lifetimes[other]));
    }
    plan.offsets[*i] = offset;
    plan.bytes = std::max(plan.bytes, offset + size(life));
    const auto after = [&](size_t value, size_t other) { return value < plan.offsets[other]; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset, after), *i);
  }
}

void place_by_time(const std::vector<Lifetime>& lifetimes, Numbers begin, Numbers end, MemoryPlan& plan) {
  std::vector<size_t> by_last(begin, end);
  std::stable_sort(begin, end, [&](size_t a, size_t b) { return lifetimes[a].first < lifetimes[b].first; });
  std::stable_sort(by_last.begin(), by_last.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].last < lifetimes[b].last; });
  FreeList free(plan.bytes);
  auto dead = by_last.begin();
  for (Numbers i = begin; i != end; ++i) {
    for (; lifetimes[*dead].last < lifetimes[*i].first; ++dead) {
      free.give_back(plan.offsets[*dead], size(lifetimes[*dead]));
    }
    plan.offsets[*i] = free.take(size(lifetimes[*i]));
  }
  plan.bytes = free.end();
}

}  // namespace

MemoryPlan plan_memory(std::vector<Lifetime> lifetimes) {
  std::vector<size_t> place(lifetimes.size());  // the value whose memory each uses: its own, or that of an earlier one
  std::iota(place.begin(), place.end(), size_t{0});
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    const size_t over = lifetimes[i].over;
    if (over == Lifetime::kNothing || lifetimes[over].bytes != lifetimes[i].bytes) continue;
    Lifetime& whole = lifetimes[place[over]];
    if (whole.last != lifetimes[i].first) continue;
    whole.last = lifetimes[i].last;
    place[i] = place[over];
  }
  MemoryPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<size_t> order;
  for (size_t i = 0; i < lifetimes.size(); ++i) {
    if (place[i] == i && lifetimes[i].bytes > 0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return size(lifetimes[a]) > size(lifetimes[b]); });
  const auto largest = order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), kLargest));
  place_by_size(lifetimes, order.begin(), largest, plan);
  place_by_time(lifetimes, largest, order.end(), plan);
  for (size_t i = 0; i < lifetimes.size(); ++i) plan.offsets[i] = plan.offsets[place[i]];
  return plan;
}

}  // namespace onebit
