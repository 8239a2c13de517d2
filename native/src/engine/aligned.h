// A block of memory that starts on a cache line and is zero at first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace onebit {

class AlignedBytes {
 public:
  static constexpr size_t kAlignment = 64;

  AlignedBytes() = default;
  explicit AlignedBytes(size_t size)
      : size_(size), data_(static_cast<uint8_t*>(::operator new(size, std::align_val_t{kAlignment}))) {
    std::memset(data_.get(), 0, size);
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
