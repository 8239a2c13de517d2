// Kernel selection from the tables.
#include "dispatch/kernels.h"

#include <algorithm>

#include "onebit/engine.h"

namespace onebit {
namespace {

template <class Table>
auto first_for(Isa isa, const Table& table) {
  return candidates_for(isa, table).front();  // every table ends with a portable row
}

template <class Table>
void list(const char* family, const Table& table, std::vector<KernelInfo>& all) {
  for (const auto* kernel : table) all.push_back({family, kernel->name, kernel->isa});
}

}  // namespace

Kernels kernels_for(Isa isa, size_t run_words) {
  const auto binary_conv = candidates_for(isa, kBinaryConvKernels);
  const auto fits = [&](const BinaryConvKernel* kernel) { return kernel->best_from <= run_words; };
  return {*std::find_if(binary_conv.begin(), binary_conv.end(), fits), first_for(isa, kFloatConvKernels),
          first_for(isa, kInt8ConvKernels), first_for(isa, kEpilogueKernels)};
}

std::vector<KernelInfo> all_kernels() {
  std::vector<KernelInfo> all;
  list("binary_conv", kBinaryConvKernels, all);
  list("float_conv", kFloatConvKernels, all);
  list("int8_conv", kInt8ConvKernels, all);
  list("epilogue", kEpilogueKernels, all);
  return all;
}

}  // namespace onebit
