// Memory that is aligned to cache lines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/poll.h"

namespace onebit {

// Zero-initialized, unless allocated `raw`.
class AlignedBytes {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBytes() = default;
  explicit AlignedBytes(size_t size) : AlignedBytes(raw(size)) { std::memset(data_.get(), 0, size); }

  static AlignedBytes raw(size_t size) {
    AlignedBytes bytes;
    bytes.size_ = size;
    bytes.data_.reset(static_cast<uint8_t*>(::operator new(size, std::align_val_t{kAlignment})));
    return bytes;
  }

  // Sets all bytes to zero. New memory takes about a second per few gigabytes, so it polls in between.
  void clear(Poll& poll) {
    constexpr size_t kPiece = size_t{1} << 26;
    for (size_t at = 0; at < size_; at += kPiece) {
      std::memset(data() + at, 0, std::min(kPiece, size_ - at));
      poll();
    }
  }

  uint8_t* data() const { return data_.get(); }
  size_t size() const { return size_; }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }

 private:
  struct Free {
    void operator()(uint8_t* p) const { ::operator delete(p, std::align_val_t{kAlignment}); }
  };
  size_t size_ = 0;
  std::unique_ptr<uint8_t, Free> data_;
};

}  // namespace onebit
