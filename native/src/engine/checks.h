// The limits of docs/format.md, checks against them, and the texts of errors.
#pragma once

#include <stdexcept>
#include <string>

#include "kernels/tile.h"
#include "onebit/engine.h"
#include "ops/op.h"

namespace onebit {

constexpr size_t kMaxSide = 65536;
constexpr size_t kMaxZeroPaddedKernel = 512;
constexpr size_t kMaxInt8Side = 16;                // of a kernel, so that its border tables stay small
constexpr size_t kMaxInt8Terms = size_t{1} << 15;  // of a sum of int8 times uint8, with room for the start value
constexpr int32_t kMaxZero = 255 * 256;
constexpr size_t kMaxConcat = 16;
constexpr size_t kMaxBlock = 64;  // of depth_to_space and space_to_depth

// Throws std::invalid_argument; `where` is the name of the node or argument.
[[noreturn]] void refuse(const std::string& where, const std::string& what);
inline void require(bool holds, const std::string& where, const std::string& what) {
  if (!holds) refuse(where, what);
}

std::string text(Shape shape);
std::string text(Pair pair);
std::string text(const Convolution& geometry);
std::string text(const ReshapedConvolution& geometry);
const char* text(ValueType type);
// What tells a layer that converts float16 first from one that does not.
std::string precision(ValueRef value);

void check_shape(const std::string& where, Shape shape);
void check_convolution(const std::string& where, const Convolution& geometry, Shape input);
void check_rpc(const std::string& where, const ReshapedConvolution& geometry, Shape input);
void check_pooling(const std::string& where, const Pooling& geometry, Shape input);

template <class T>
void check_length(const std::string& where, const char* what, const Table<T>& table, size_t wanted) {
  if (table.size() == wanted) return;
  refuse(where,
         std::string(what) + " has " + std::to_string(table.size()) + " entries, needs " + std::to_string(wanted));
}

// Bits past the last channel would be counted as channels.
void check_unused_bits(const std::string& where, const char* what, const Table<uint32_t>& words, size_t channels);

}  // namespace onebit
