// Instruction sets: those of this build, those that this CPU supports, and the selection of one.
#pragma once

#include <string>
#include <vector>

namespace onebit {

// Worst first: the default is the last one that this build contains and this CPU supports.
enum class Isa {
  portable,  // plain C++, any CPU
  neon,      // every 64-bit ARM
  avx2,      // AVX2, FMA and F16C: Intel from Haswell (2013), AMD from Excavator (2015)
  avx512bw,  // AVX-512 F, BW, VL and DQ: Intel servers from Skylake (2017)
  avx512,    // and VPOPCNTDQ: Intel from Ice Lake (2019), AMD from Zen 4 (2022)
};

inline constexpr Isa kIsas[] = {Isa::portable, Isa::neon, Isa::avx2, Isa::avx512bw, Isa::avx512};

const char* name(Isa isa);

// Whether kernels for `isa` were compiled into this library.
bool built_for(Isa isa);

// Whether the CPU supports `isa` and the operating system saves its registers.
bool cpu_has(Isa isa);

// Whether kernels for `part` may be used with `whole`.
bool includes(Isa whole, Isa part);

// Instructions that only some CPUs of an instruction set have. In the tables, kernels that need them come first.
enum class Feature {
  none,
  vnni,         // AVX-512 VNNI: Intel from Cascade Lake (2019), AMD from Zen 4 (2022)
  dot_product,  // SDOT: 64-bit ARM from ARMv8.2 on, optional there
};

bool cpu_has(Feature feature);

// The instruction set to use: `asked` if not empty, or else the environment variable ONEBIT_ISA if set, or else the
// best one. Throws std::invalid_argument if it is unknown or cannot run here.
Isa choose_isa(const std::string& asked = "");

// The CPU's own description of itself.
std::string cpu_name();

}  // namespace onebit
