// The window of each pixel of a pool's result.
#pragma once

#include <algorithm>

#include "ops/op.h"

namespace onebit {

// The part of a window that lies inside the map.
struct Window {
  size_t top, bottom, left, right;  // half-open

  size_t taps() const { return (bottom - top) * (right - left); }
};

inline Window window_at(const Pooling& g, Shape input, size_t y, size_t x) {
  const auto clip = [](size_t position, size_t stride, size_t padding, size_t kernel, size_t length) {
    const size_t begin = position * stride, end = begin + kernel;  // in padded coordinates
    return Pair{std::max(begin, padding) - padding, std::min(end, padding + length) - padding};
  };
  const Pair rows = clip(y, g.stride.vertical, g.padding.vertical, g.kernel.vertical, input.height);
  const Pair columns = clip(x, g.stride.horizontal, g.padding.horizontal, g.kernel.horizontal, input.width);
  return {rows.vertical, rows.horizontal, columns.vertical, columns.horizontal};
}

}  // namespace onebit
