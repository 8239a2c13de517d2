// Which taps of a convolution lie inside the map, by the position of its result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "onebit/engine.h"

namespace onebit {

// Positions of one axis that have the same kernel taps inside the map share a class. They are neighbors: from one
// position to the next, the taps inside only move toward the kernel's start.
struct BorderClasses {
  struct Taps {
    size_t begin, end;

    bool has(size_t tap) const { return begin <= tap && tap < end; }
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
};

// Those of both axes. Pixels whose row and column have the same classes have the same taps inside the map.
struct BorderPairs {
  BorderClasses rows, columns;

  BorderPairs(const Convolution& g, Shape input, Pair output)
      : rows(output.vertical, input.height, g.kernel.vertical, g.stride.vertical, g.padding.vertical,
             g.dilation.vertical),
        columns(output.horizontal, input.width, g.kernel.horizontal, g.stride.horizontal, g.padding.horizontal,
                g.dilation.horizontal) {}

  size_t count() const { return rows.inside.size() * columns.inside.size(); }
  size_t at(size_t y, size_t x) const { return rows.of_position[y] * columns.inside.size() + columns.of_position[x]; }

  // f(taps of the rows, taps of the columns) for each pair, in the order of `at`.
  template <class Function>
  void each(Function f) const {
    for (const BorderClasses::Taps& row : rows.inside) {
      for (const BorderClasses::Taps& column : columns.inside) f(row, column);
    }
  }
};

}  // namespace onebit
