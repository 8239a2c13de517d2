// The tensors that a network is described with: weights and the tables of steps.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace onebit {

// A constant array with shared ownership: copies of a table refer to the same numbers. A builder considers tables with
// the same address and size equal and prepares them for its kernels only once.
template <class T>
class Table {
 public:
  Table() = default;
  Table(std::vector<T> numbers) {
    const auto owner = std::make_shared<const std::vector<T>>(std::move(numbers));
    *this = Table(owner->data(), owner->size(), owner);
  }
  Table(std::initializer_list<T> numbers) : Table(std::vector<T>(numbers)) {}
  // Borrows numbers that live as long as `owner`; they must not change before Builder::finish returns.
  Table(const T* data, size_t size, std::shared_ptr<const void> owner)
      : data_(data), size_(size), owner_(std::move(owner)) {}

  const T* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  const T* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<const void> owner_;
};

}  // namespace onebit
