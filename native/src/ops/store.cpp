// Constant data of ops.
#include "ops/store.h"

#include <stdexcept>

namespace onebit {

void Store::count(size_t bytes) {
  if (bytes > limit_ - bytes_) {
    throw std::invalid_argument(
        user_ + ": up to here weights and tables take more than max_memory = " + std::to_string(limit_) + " bytes");
  }
  bytes_ += bytes;
}

const uint8_t* Store::find_block(const Key& key, size_t bytes, std::function<void(uint8_t*, Poll&)> fill) {
  const auto found = addresses_.find(key);
  if (found != addresses_.end()) return found->second;
  count(bytes);
  blocks_.push_back(AlignedBytes::raw(bytes));
  pending_.push_back({blocks_.size() - 1, std::move(fill)});
  return addresses_[key] = blocks_.back().data();
}

void Store::fill(Poll& poll) {
  for (Pending& pending : pending_) {
    AlignedBytes& block = blocks_[pending.block];
    block.clear(poll);
    pending.fill(block.data(), poll);
    pending.fill = nullptr;  // releases its tables
    poll();
  }
  pending_.clear();
  addresses_.clear();
}

}  // namespace onebit
