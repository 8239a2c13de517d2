// Constant data of ops: geometry, and weights and tables in the layout of the kernels.
//
// Nodes with the same tensors and geometry share their data. While a network is described, blocks are only allocated,
// counted and checked against the limit; `fill` computes their contents at the end. A network that needs too much
// memory is therefore refused before the memory is touched.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/poll.h"
#include "onebit/engine.h"

namespace onebit {

// Identifies data by what it is computed from. Nodes with equal keys share it.
class Key {
 public:
  template <class... Parts>
  explicit Key(const char* kind, const Parts&... parts) : kind_(kind) {
    add_all(parts...);
  }
  bool operator<(const Key& other) const { return kind_ != other.kind_ ? kind_ < other.kind_ : parts_ < other.parts_; }

 private:
  void add(size_t number) { parts_.push_back(number); }
  void add(const void* address) { parts_.push_back(reinterpret_cast<uintptr_t>(address)); }
  void add(Pair pair) { add_all(pair.vertical, pair.horizontal); }
  void add(Shape shape) { add_all(shape.height, shape.width, shape.channels); }
  void add(const Convolution& g) { add_all(g.kernel, g.stride, g.padding, g.dilation, g.groups, g.out_channels); }
  void add(const ReshapedConvolution& g) { add_all(g.block, g.upscale, g.roll, g.out_channels); }
  template <class T>
  void add(const Table<T>& table) {
    add_all(static_cast<const void*>(table.data()), table.size());
  }
  template <class... Parts>
  void add_all(const Parts&... parts) {
    (add(parts), ...);
  }

  std::string kind_;
  std::vector<size_t> parts_;
};

class Store {
 public:
  // Throws std::invalid_argument, with the user's name, as soon as the total exceeds `limit` bytes.
  explicit Store(size_t limit = SIZE_MAX) : limit_(limit) {}
  void set_user(const std::string& name) { user_ = name; }

  // `count` elements of T. The address is valid at once; Store::fill clears them and calls fill(elements, poll), so
  // what `fill` refers to must live until then.
  template <class T, class Fill>
  const T* block(const Key& key, size_t count, Fill fill) {
    return reinterpret_cast<const T*>(find_block(
        key, count * sizeof(T), [fill](uint8_t* bytes, Poll& poll) { fill(reinterpret_cast<T*>(bytes), poll); }));
  }
  template <class T>
  const T* zeros(size_t count) {
    return block<T>(Key("zeros", count * sizeof(T)), count, [](T*, Poll&) {});
  }

  // A small object, which make() returns at once; bytes(object) is its size in memory.
  template <class Make, class Bytes>
  const auto& object(const Key& key, Make make, Bytes bytes) {
    using T = decltype(make());
    std::shared_ptr<const void>& found = objects_[key];
    if (!found) {
      auto made = std::make_shared<const T>(make());
      count(bytes(*made));
      found = std::move(made);
    }
    return *static_cast<const T*>(found.get());
  }

  size_t bytes() const { return bytes_; }

  // Computes all blocks and releases the tables that they are computed from. Nothing may be added afterwards.
  void fill(Poll& poll);

 private:
  struct Pending {
    size_t block;
    std::function<void(uint8_t*, Poll&)> fill;
  };

  void count(size_t bytes);
  const uint8_t* find_block(const Key& key, size_t bytes, std::function<void(uint8_t*, Poll&)> fill);

  size_t limit_, bytes_ = 0;
  std::string user_;  // the node that is being added
  std::vector<AlignedBytes> blocks_;
  std::vector<Pending> pending_;
  std::map<Key, const uint8_t*> addresses_;
  std::map<Key, std::shared_ptr<const void>> objects_;
};

}  // namespace onebit
