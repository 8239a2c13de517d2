// Which taps of a convolution lie inside the map, by the position of its result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace onebit {

// Positions of one axis that have the same kernel taps inside the map share a class. They are neighbours: from one
// position to the next, the taps inside only move towards the kernel's start.
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

}  // namespace onebit
