// Which taps of a convolution are inside the map, for each position of the result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/store.h"

namespace onebit {

// Positions along one axis that have the same kernel taps inside the map form a class. They are contiguous, because
// from one position to the next the taps inside only move toward the kernel's start.
struct BorderClasses {
  struct Taps {
    size_t begin, end;
  };
  std::vector<uint32_t> of_position;
  std::vector<Taps> inside;  // of every class

  BorderClasses(size_t positions, size_t length, size_t kernel, size_t stride, size_t padding, size_t dilation) {
    for (size_t i = 0; i < positions; ++i) {
      const auto first_from = [&](size_t edge) {
        return i * stride >= edge ? 0 : std::min(kernel, (edge - i * stride + dilation - 1) / dilation);
      };
      const Taps taps{first_from(padding), first_from(padding + length)};
      if (inside.empty() || inside.back().begin != taps.begin || inside.back().end != taps.end) inside.push_back(taps);
      of_position.push_back(static_cast<uint32_t>(inside.size() - 1));
    }
  }

  size_t bytes() const { return of_position.capacity() * sizeof of_position[0] + inside.capacity() * sizeof inside[0]; }
};

// The classes of both axes. Pixels with the same pair of classes have the same taps inside the map.
struct BorderPairs {
  BorderClasses rows, columns;
  Pair kernel;

  BorderPairs(const Convolution& g, Shape input, Pair output)
      : rows(output.vertical, input.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical,
             g.dilation.vertical),
        columns(output.horizontal, input.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal,
                g.dilation.horizontal),
        kernel(g.kernel) {}

  size_t count() const { return rows.inside.size() * columns.inside.size(); }
  size_t at(size_t y, size_t x) const { return rows.of_position[y] * columns.inside.size() + columns.of_position[x]; }

  // out[pair * stride] = finish(sum of tap(row, column) over the taps inside), for each pair in the order of `at`. The
  // taps inside are a rectangle of the kernel, whose sum is computed from four entries of a summed-area table, so the
  // time is linear in the number of taps and pairs. Sum is an integer type that holds the sum of any taps.
  template <class Sum, class Tap, class Finish>
  void sum_inside(int32_t* out, size_t stride, Tap tap, Finish finish) const {
    const size_t width = kernel.horizontal + 1;
    std::vector<Sum> corner((kernel.vertical + 1) * width);  // [y][x]: the sum of all taps above y and left of x
    for (size_t y = 0; y < kernel.vertical; ++y) {
      Sum row = 0;
      for (size_t x = 0; x < kernel.horizontal; ++x) {
        row += tap(y, x);
        corner[(y + 1) * width + x + 1] = corner[y * width + x + 1] + row;
      }
    }
    for (const BorderClasses::Taps& r : rows.inside) {
      const Sum *const top = &corner[r.begin * width], *const bottom = &corner[r.end * width];
      for (const BorderClasses::Taps& c : columns.inside) {
        *out = finish((bottom[c.end] - bottom[c.begin]) - (top[c.end] - top[c.begin]));
        out += stride;
      }
    }
  }
};

inline const BorderPairs& shared_borders(Store& store, const Convolution& geometry, Shape input, Pair output) {
  return store.object(
      Key("borders", geometry, input), [&] { return BorderPairs(geometry, input, output); },
      [](const BorderPairs& pairs) { return pairs.rows.bytes() + pairs.columns.bytes(); });
}

}  // namespace onebit
