// Emulates AMX-BF16 and tdpbssd of AMX-INT8 on CPUs without it: every tile instruction raises SIGILL, and the handler
// executes it as specified in Intel's manual (Instruction Set Reference, volume 2). Slow, but the code under test is
// the compiled kernel.
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <atomic>

namespace {

struct Tile {
  uint8_t bytes[16][64];
};

struct State {
  bool configured = false;
  uint16_t row_bytes[8] = {};
  uint8_t rows[8] = {};
  Tile tiles[8] = {};
};

thread_local State state;
std::atomic<uint64_t> executed{0};
struct sigaction previous;

// The VEX prefix (three-byte form), opcode and operands of an instruction in map 0F38.
struct Instruction {
  int pp, vvvv, opcode, reg, rm, mod, length;
  bool uses_sib = false;
  uint64_t base = 0, index = 0;  // base plus displacement; scaled index
};

uint64_t general_register(const ucontext_t* context, int number) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return static_cast<uint64_t>(context->uc_mcontext.gregs[order[number]]);
}

bool decode(const uint8_t* code, const ucontext_t* context, Instruction& out) {
  if (code[0] != 0xc4 || (code[1] & 0x1f) != 2) return false;
  const int x = code[1] & 0x40 ? 0 : 8, b = code[1] & 0x20 ? 0 : 8;
  out.pp = code[2] & 3;
  out.vvvv = (~code[2] >> 3) & 15;
  out.opcode = code[3];
  out.mod = code[4] >> 6;
  out.reg = (code[4] >> 3) & 7;
  out.rm = code[4] & 7;
  out.length = 5;
  if (out.mod == 3) return true;
  if (out.rm == 4) {
    const uint8_t sib = code[out.length++];
    const int index = ((sib >> 3) & 7) | x, base = sib & 7;
    out.uses_sib = true;
    if (index != 4) out.index = general_register(context, index) << (sib >> 6);
    if (base != 5 || out.mod != 0)
      out.base = general_register(context, base | b);
    else
      out.mod = 2;  // no base, 32-bit displacement
  } else if (out.rm == 5 && out.mod == 0) {
    int32_t displacement;
    memcpy(&displacement, code + out.length, 4);
    out.length += 4;
    out.base = reinterpret_cast<uint64_t>(code) + out.length + displacement;
    return true;
  } else {
    out.base = general_register(context, out.rm | b);
  }
  if (out.mod == 1) {
    out.base += static_cast<int64_t>(static_cast<int8_t>(code[out.length]));
    out.length += 1;
  } else if (out.mod == 2) {
    int32_t displacement;
    memcpy(&displacement, code + out.length, 4);
    out.base += static_cast<int64_t>(displacement);
    out.length += 4;
  }
  return true;
}

float to_float32(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &word, 4);
  return value;
}

void load_config(const uint8_t* config) {
  if (config[0] != 1) abort();
  state = State{};
  state.configured = true;
  for (int t = 0; t < 8; ++t) {
    memcpy(&state.row_bytes[t], config + 16 + 2 * t, 2);
    state.rows[t] = config[48 + t];
    if (state.row_bytes[t] > 64 || state.rows[t] > 16) abort();
  }
}

// c += a · b, where the words of `a` and `b` hold adjacent numbers of the inner dimension; dot adds the products of two
// words to a sum.
template <class Sum, class Dot>
void multiply(int c, int a, int b, Dot&& dot) {
  for (int m = 0; m < state.rows[c]; ++m)
    for (int k = 0; k < state.row_bytes[a] / 4; ++k)
      for (int n = 0; n < state.row_bytes[c] / 4; ++n) {
        Sum sum;
        memcpy(&sum, state.tiles[c].bytes[m] + 4 * n, 4);
        dot(sum, state.tiles[a].bytes[m] + 4 * k, state.tiles[b].bytes[k] + 4 * n);
        memcpy(state.tiles[c].bytes[m] + 4 * n, &sum, 4);
      }
}

void multiply_bf16(int c, int a, int b) {
  multiply<float>(c, a, b, [](float& sum, const uint8_t* x, const uint8_t* y) {
    uint16_t left[2], right[2];
    memcpy(left, x, 4);
    memcpy(right, y, 4);
    for (int i = 0; i < 2; ++i) sum += to_float32(left[i]) * to_float32(right[i]);
  });
}

void multiply_int8(int c, int a, int b) {
  multiply<int32_t>(c, a, b, [](int32_t& sum, const uint8_t* x, const uint8_t* y) {
    for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(x[i]) * static_cast<int8_t>(y[i]);
  });
}

enum Prefix { none = 0, p66 = 1, pf3 = 2, pf2 = 3 };

bool execute(const Instruction& i) {
  if (i.opcode == 0x49 && i.pp == none && i.mod != 3)
    return load_config(reinterpret_cast<const uint8_t*>(i.base)), true;
  if (!state.configured) return false;                                                          // as on a CPU: #UD
  if (i.opcode == 0x49 && i.pp == none) return state = State{}, true;                           // tilerelease
  if (i.opcode == 0x49 && i.pp == pf2 && i.mod == 3) return state.tiles[i.reg] = Tile{}, true;  // tilezero
  if (i.opcode == 0x5c && i.pp == pf3 && i.mod == 3) return multiply_bf16(i.reg, i.rm, i.vvvv), true;  // tdpbf16ps
  if (i.opcode == 0x5e && i.pp == pf2 && i.mod == 3) return multiply_int8(i.reg, i.rm, i.vvvv), true;  // tdpbssd
  if (i.opcode != 0x4b || !i.uses_sib) return false;
  Tile& tile = state.tiles[i.reg];
  if (i.pp == pf2 || i.pp == p66) tile = Tile{};  // tileloadd, tileloaddt1
  for (int row = 0; row < state.rows[i.reg]; ++row) {
    auto* memory = reinterpret_cast<uint8_t*>(i.base + row * i.index);
    if (i.pp == pf3)
      memcpy(memory, tile.bytes[row], state.row_bytes[i.reg]);  // tilestored
    else
      memcpy(tile.bytes[row], memory, state.row_bytes[i.reg]);
  }
  return true;
}

void handle(int, siginfo_t*, void* opaque) {
  auto* context = static_cast<ucontext_t*>(opaque);
  Instruction instruction{};
  const auto* code = reinterpret_cast<const uint8_t*>(context->uc_mcontext.gregs[REG_RIP]);
  if (!decode(code, context, instruction) || !execute(instruction)) {
    sigaction(SIGILL, &previous, nullptr);  // not an AMX instruction: raise it again, unhandled
    return;
  }
  executed.fetch_add(1, std::memory_order_relaxed);
  context->uc_mcontext.gregs[REG_RIP] += instruction.length;
}

}  // namespace

extern "C" void install() {
  struct sigaction action{};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &previous);
}

extern "C" void uninstall() { sigaction(SIGILL, &previous, nullptr); }

extern "C" uint64_t instructions_executed() { return executed.load(); }
