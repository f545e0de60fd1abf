// The calls into llama.cpp and its multimodal library that can throw. Rust cannot catch C++
// exceptions: one that reaches it ends the process. Each function here calls the one of the same
// name without `mmprm_`, with the same arguments, and writes the text of an exception to `cause`,
// a buffer of CAUSE_SIZE bytes that starts empty; it then returns null or 0. `shim.rs` declares them
// for Rust.

#include <cstdio>
#include <exception>

#include "llama.h"
#include "mtmd.h"

// Equal to that of shim.rs.
static const size_t CAUSE_SIZE = 512;

static void explain(char * cause, const char * text) {
    snprintf(cause, CAUSE_SIZE, "%s", text[0] == '\0' ? "an exception without a text" : text);
}

template <typename Call>
static auto guard(char * cause, Call call) -> decltype(call()) {
    using Result = decltype(call());
    try {
        return call();
    } catch (const std::exception & exception) {
        explain(cause, exception.what());
    } catch (...) {
        explain(cause, "an exception of an unknown type");
    }
    return Result();
}

extern "C" {

llama_model * mmprm_llama_model_load_from_file(const char * path, llama_model_params params, char * cause) {
    return guard(cause, [&] { return llama_model_load_from_file(path, params); });
}

llama_context * mmprm_llama_init_from_model(llama_model * model, llama_context_params params, char * cause) {
    return guard(cause, [&] { return llama_init_from_model(model, params); });
}

llama_adapter_lora * mmprm_llama_adapter_lora_init(llama_model * model, const char * path, char * cause) {
    return guard(cause, [&] { return llama_adapter_lora_init(model, path); });
}

int32_t mmprm_llama_set_adapters_lora(
        llama_context * context, llama_adapter_lora ** adapters, size_t count, float * scales, char * cause) {
    return guard(cause, [&] { return llama_set_adapters_lora(context, adapters, count, scales); });
}

int32_t mmprm_llama_tokenize(
        const llama_vocab * vocab, const char * text, int32_t length, llama_token * tokens, int32_t capacity,
        bool add_special, bool parse_special, char * cause) {
    return guard(cause, [&] {
        return llama_tokenize(vocab, text, length, tokens, capacity, add_special, parse_special);
    });
}

int32_t mmprm_llama_chat_apply_template(
        const char * tmpl, const llama_chat_message * chat, size_t count, bool add_ass, char * buffer, int32_t length,
        char * cause) {
    return guard(cause, [&] { return llama_chat_apply_template(tmpl, chat, count, add_ass, buffer, length); });
}

int32_t mmprm_llama_decode(llama_context * context, llama_batch batch, char * cause) {
    return guard(cause, [&] { return llama_decode(context, batch); });
}

void mmprm_llama_synchronize(llama_context * context, char * cause) {
    guard(cause, [&] { llama_synchronize(context); });
}

mtmd_context * mmprm_mtmd_init_from_file(
        const char * path, const llama_model * model, mtmd_context_params params, char * cause) {
    return guard(cause, [&] { return mtmd_init_from_file(path, model, params); });
}

mtmd_bitmap * mmprm_mtmd_bitmap_init(uint32_t width, uint32_t height, const unsigned char * data, char * cause) {
    return guard(cause, [&] { return mtmd_bitmap_init(width, height, data); });
}

mtmd_input_chunks * mmprm_mtmd_input_chunks_init(char * cause) {
    return guard(cause, [&] { return mtmd_input_chunks_init(); });
}

int32_t mmprm_mtmd_tokenize(
        const mtmd_context * context, mtmd_input_chunks * output, const mtmd_input_text * text,
        const mtmd_bitmap * const * bitmaps, size_t count, char * cause) {
    return guard(cause, [&] { return mtmd_tokenize(context, output, text, bitmaps, count); });
}

int32_t mmprm_mtmd_encode_chunk(mtmd_context * context, const mtmd_input_chunk * chunk, char * cause) {
    return guard(cause, [&] { return mtmd_encode_chunk(context, chunk); });
}

}
