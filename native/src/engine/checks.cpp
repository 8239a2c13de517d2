// Checks against the limits of docs/format.md, and the texts of errors.
#include "engine/checks.h"

#include <algorithm>

namespace onebit {
namespace {

constexpr size_t kMaxElements = size_t{1} << 28;
constexpr size_t kMaxTerms = size_t{1} << 30;  // of one sum: twice as many still fit in an int32
constexpr size_t kMaxTaps = size_t{1} << 24;   // of a pool
constexpr size_t kMaxReshapedBlock = 16;

// The product of the factors, or an error if it exceeds `limit`.
size_t bounded_product(const std::string& where, const char* what, std::initializer_list<size_t> factors,
                       size_t limit) {
  size_t product = 1;
  for (const size_t factor : factors) {
    if (factor > limit || product > limit / std::max<size_t>(factor, 1)) {
      refuse(where, std::string(what) + " exceed " + std::to_string(limit));
    }
    product *= factor;
  }
  return product;
}

void check_pair(const std::string& where, const char* what, Pair pair, size_t lowest) {
  for (const size_t side : {pair.vertical, pair.horizontal}) {
    if (side >= lowest && side <= kMaxSide) continue;
    refuse(where,
           std::string(what) + " " + std::to_string(side) + " is outside " + std::to_string(lowest) + " ... 65536");
  }
}

}  // namespace

void refuse(const std::string& where, const std::string& what) { throw std::invalid_argument(where + ": " + what); }

std::string text(Shape s) {
  return std::to_string(s.height) + "x" + std::to_string(s.width) + "x" + std::to_string(s.channels);
}

std::string text(Pair p) { return std::to_string(p.vertical) + "x" + std::to_string(p.horizontal); }

std::string text(const Convolution& g) {
  return "to " + std::to_string(g.out_channels) + " kernel " + text(g.kernel) + " stride " + text(g.stride) +
         " padding " + text(g.padding) + " dilation " + text(g.dilation) + " groups " + std::to_string(g.groups);
}

std::string text(const ReshapedConvolution& g) {
  return "to " + std::to_string(g.out_channels) + " block " + std::to_string(g.block) + " upscale " +
         std::to_string(g.upscale) + " roll " + std::to_string(g.roll);
}

const char* text(ValueType type) {
  switch (type) {
    case ValueType::bits:
      return "bits";
    case ValueType::uint8:
      return "uint8";
    case ValueType::float16:
      return "float16";
    case ValueType::float32:
      break;
  }
  return "float32";
}

std::string precision(ValueRef value) { return value.half ? " of float16" : ""; }

void check_shape(const std::string& where, Shape s) {
  for (const size_t side : {s.height, s.width, s.channels}) {
    if (side < 1 || side > kMaxSide) refuse(where, "shape " + text(s) + " has a side outside 1 ... 65536");
  }
  bounded_product(where, "elements", {s.height, s.width, s.channels}, kMaxElements);
}

void check_convolution(const std::string& where, const Convolution& g, Shape input) {
  check_pair(where, "kernel", g.kernel, 1);
  check_pair(where, "stride", g.stride, 1);
  check_pair(where, "padding", g.padding, 0);
  check_pair(where, "dilation", g.dilation, 1);
  require(g.groups >= 1 && input.channels % g.groups == 0 && g.out_channels % g.groups == 0, where,
          "groups = " + std::to_string(g.groups) + " must divide " + std::to_string(input.channels) + " inputs and " +
              std::to_string(g.out_channels) + " outputs");
  require(g.out_channels >= 1 && g.out_channels <= kMaxSide, where, "out_channels is outside 1 ... 65536");
  bounded_product(where, "terms of a sum",
                  {g.kernel.vertical, g.kernel.horizontal, round_up(input.channels / g.groups, kWordBits)}, kMaxTerms);
  bounded_product(where, "elements of the padded input",
                  {input.height + 2 * g.padding.vertical, input.width + 2 * g.padding.horizontal,
                   g.groups * round_up(input.channels / g.groups, kWordBits)},
                  kMaxTerms);
}

void check_rpc(const std::string& where, const ReshapedConvolution& g, Shape input) {
  require(g.block >= 1 && g.block <= kMaxReshapedBlock, where,
          "block " + std::to_string(g.block) + " is outside 1 ... 16");
  require(g.upscale == 1 || g.upscale == 2, where, "upscale " + std::to_string(g.upscale) + " is not 1 or 2");
  require(g.roll <= 1, where, "roll " + std::to_string(g.roll) + " is not 0 or 1");
  require(g.roll == 0 || g.block == g.upscale, where, "roll needs block = upscale");
  require(g.out_channels >= 1 && g.out_channels <= kMaxSide, where, "out_channels is outside 1 ... 65536");
  require(g.out_channels % (g.upscale * g.upscale) == 0, where,
          "out_channels = " + std::to_string(g.out_channels) + " must be a multiple of upscale^2");
  const size_t depth = round_up(input.channels, kWordBits);
  bounded_product(where, "terms of a sum", {g.block, g.block, depth}, kMaxTerms);
  bounded_product(where, "elements of the padded input",
                  {round_up(input.height, g.block), round_up(input.width, g.block), depth}, kMaxTerms);
}

void check_pooling(const std::string& where, const Pooling& g, Shape input) {
  check_pair(where, "kernel", g.kernel, 1);
  check_pair(where, "stride", g.stride, 1);
  check_pair(where, "padding", g.padding, 0);
  require(2 * g.padding.vertical <= g.kernel.vertical && 2 * g.padding.horizontal <= g.kernel.horizontal, where,
          "padding of a pool may be half of its kernel at most");
  bounded_product(where, "taps of a pool", {g.kernel.vertical, g.kernel.horizontal}, kMaxTaps);
  bounded_product(where, "elements of the padded input",
                  {input.height + 2 * g.padding.vertical, input.width + 2 * g.padding.horizontal, input.channels},
                  kMaxTerms);
}

void check_unused_bits(const std::string& where, const char* what, const Table<uint32_t>& words, size_t channels) {
  if (channels % kWordBits == 0) return;
  const size_t per_row = words_for(channels);
  for (size_t i = per_row - 1; i < words.size(); i += per_row) {
    if (words[i] >> channels % kWordBits != 0) refuse(where, std::string(what) + " has a 1 in an unused bit");
  }
}

}  // namespace onebit
