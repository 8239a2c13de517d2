// Detection and selection of instruction sets.
#include "onebit/isa.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace onebit {
namespace {

#if defined(__x86_64__)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zeros if the CPU does not support the leaf.
Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// The register state that the operating system saves on context switches (XCR0).
uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool bit(uint32_t word, int position) { return (word >> position) & 1; }

struct X86Features {
  bool avx2 = false, avx512bw = false, avx512 = false, vnni = false;

  X86Features() {
    const Registers basic = cpuid(1);
    if (!bit(basic.ecx, 27)) return;  // OSXSAVE: without it xgetbv itself is illegal
    const uint64_t state = saved_state();
    const Registers extended = cpuid(7);
    const bool ymm_saved = (state & 0x06) == 0x06;  // SSE and AVX state
    const bool zmm_saved = (state & 0xE6) == 0xE6;  // and opmask, upper halves, upper registers
    const bool fma = bit(basic.ecx, 12), avx = bit(basic.ecx, 28), f16c = bit(basic.ecx, 29);
    avx2 = ymm_saved && avx && fma && f16c && bit(extended.ebx, 5);
    const bool f = bit(extended.ebx, 16), dq = bit(extended.ebx, 17), bw = bit(extended.ebx, 30);
    const bool vl = bit(extended.ebx, 31), vpopcntdq = bit(extended.ecx, 14);
    avx512bw = avx2 && zmm_saved && f && dq && bw && vl;
    avx512 = avx512bw && vpopcntdq;
    vnni = avx512bw && bit(extended.ecx, 11);
  }
};

const X86Features& x86() {
  static const X86Features features;
  return features;
}

#endif

// The sets for which `test` is true: "portable, avx2".
std::string list(bool (*test)(Isa)) {
  std::string names;
  for (Isa isa : kIsas) {
    if (test(isa)) names += std::string(names.empty() ? "" : ", ") + name(isa);
  }
  return names;
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return "portable";
    case Isa::neon:
      return "neon";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512bw:
      return "avx512bw";
    case Isa::avx512:
      return "avx512";
  }
  return "unknown";
}

bool built_for(Isa isa) {
#if defined(__x86_64__)
  return isa != Isa::neon;
#elif defined(__aarch64__)
  return isa == Isa::portable || isa == Isa::neon;
#else
  return isa == Isa::portable;
#endif
}

bool cpu_has(Isa isa) {
  switch (isa) {
    case Isa::portable:
      return true;
#if defined(__x86_64__)
    case Isa::avx2:
      return x86().avx2;
#if defined(ONEBIT_EMULATE_AVX512)  // a test build: see tests/emulated_avx512.h
    case Isa::avx512bw:
    case Isa::avx512:
      return true;
#else
    case Isa::avx512bw:
      return x86().avx512bw;
    case Isa::avx512:
      return x86().avx512;
#endif
#elif defined(__aarch64__)
    case Isa::neon:
      return true;
#endif
    default:
      return false;
  }
}

bool cpu_has(Feature feature) {
  switch (feature) {
    case Feature::none:
      return true;
#if defined(__x86_64__)
    case Feature::vnni:
#if defined(ONEBIT_EMULATE_AVX512)
      return true;
#else
      return x86().vnni;
#endif
#elif defined(__aarch64__) && defined(__linux__)
    case Feature::dot_product:
      return getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#elif defined(__aarch64__) && defined(__APPLE__)
    case Feature::dot_product:
      return true;
#endif
    default:
      return false;
  }
}

bool includes(Isa whole, Isa part) {
  const bool extends = part == Isa::avx2 || part == Isa::avx512bw;  // those that later ones of x86 contain
  return part == Isa::portable || part == whole || (extends && part < whole);
}

Isa choose_isa(const std::string& asked) {
  const char* variable = std::getenv("ONEBIT_ISA");
  const bool from_variable = asked.empty() && variable != nullptr && *variable != '\0';
  const std::string wish = from_variable ? variable : asked;
  if (wish.empty()) {
    Isa best = Isa::portable;
    for (Isa isa : kIsas) {
      if (built_for(isa) && cpu_has(isa)) best = isa;
    }
    return best;
  }
  for (Isa isa : kIsas) {
    if (wish == name(isa) && built_for(isa) && cpu_has(isa)) return isa;
  }
  throw std::invalid_argument((from_variable ? "ONEBIT_ISA=" : "isa=") + wish + " cannot run here; this CPU runs " +
                              list(cpu_has) + "; this build contains " + list(built_for));
}

std::string cpu_name() {
#if defined(__x86_64__)
  char brand[49] = {};
  for (uint32_t leaf = 0; leaf < 3; ++leaf) {
    const Registers r = cpuid(0x80000002u + leaf);
    std::memcpy(brand + 16 * leaf, &r, 16);
  }
  std::string text = brand;
  const size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == std::string::npos ? "x86-64" : text.substr(first, last - first + 1);
#else
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.compare(0, 10, "model name") == 0) return line.substr(line.find(':') + 2);
  }
#if defined(__aarch64__)
  return "aarch64";
#else
  return "unknown";
#endif
#endif
}

}  // namespace onebit
