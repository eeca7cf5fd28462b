// What the calls of CUDA's virtual memory management cost on the host: reserve, create, map, set access, unmap, release, free,
// for one handle of growing size and for many handles of the smallest size side by side. The mapped memory is written and
// read back before anything is timed. Driver API, reached through the driver library itself; a driver without it is left out.
#include "common.cuh"

#ifdef TIERGARTEN_STAND_IN
#include "stand_in_driver.hpp"
#else
#include <cuda.h>
#include <dlfcn.h>
template <class F>
static F *driver_call(const char *name) {
    static void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) leave_out("the driver library libcuda.so.1 cannot be opened");
    void *call = dlsym(library, name);
    if (!call) leave_out(std::string("the driver has no ") + name);
    return (F *)call;
}
#define DRIVER(name) static auto *const name##_call = driver_call<decltype(name)>(#name)
#endif

#define CHECK_DRIVER(call)                                                              \
    do {                                                                                \
        CUresult result_ = (call);                                                      \
        if (result_ != CUDA_SUCCESS) {                                                  \
            fprintf(stderr, "%s:%d: %s: driver error %d\n", __FILE__, __LINE__, #call, (int)result_); \
            exit(1);                                                                    \
        }                                                                               \
    } while (0)

struct Costs {
    std::vector<double> reserve, create, map, set_access, unmap, release, free_range;
};

template <class F>
static void add(std::vector<double> &to, double per, F f) {
    double started_us = host_us();
    f();
    to.push_back((host_us() - started_us) / per);
}

static CUmemAllocationProp on_device() {
    CUmemAllocationProp prop = {};
    prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    prop.location.id = 0;
    return prop;
}

// One round: `handles` handles of `bytes` each in one address range, access set for each handle or for the whole range.
static void round_trip(Costs &costs, size_t bytes, int handles, bool is_access_at_once, bool is_checked, uint64_t seed) {
    DRIVER(cuMemAddressReserve);
    DRIVER(cuMemCreate);
    DRIVER(cuMemMap);
    DRIVER(cuMemSetAccess);
    DRIVER(cuMemUnmap);
    DRIVER(cuMemRelease);
    DRIVER(cuMemAddressFree);
    CUmemAllocationProp prop = on_device();
    CUmemAccessDesc access = {};
    access.location = prop.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    size_t total = bytes * handles;
    std::vector<CUmemGenericAllocationHandle> made(handles);
    CUdeviceptr base = 0;
    add(costs.reserve, 1, [&] { CHECK_DRIVER(cuMemAddressReserve_call(&base, total, 0, 0, 0)); });
    add(costs.create, handles, [&] { for (auto &one : made) CHECK_DRIVER(cuMemCreate_call(&one, bytes, &prop, 0)); });
    add(costs.map, handles, [&] { for (int h = 0; h < handles; h++) CHECK_DRIVER(cuMemMap_call(base + h * bytes, bytes, 0, made[h], 0)); });
    add(costs.set_access, handles, [&] {
        if (is_access_at_once) CHECK_DRIVER(cuMemSetAccess_call(base, total, &access, 1));
        else for (int h = 0; h < handles; h++) CHECK_DRIVER(cuMemSetAccess_call(base + h * bytes, bytes, &access, 1));
    });
    if (is_checked) {
        uint4 *mapped = (uint4 *)base, seen;
        LAUNCH(fill_random, sweep_blocks(), kBlockThreads, 0, 0, mapped, total / 16, seed);
        CHECK(cudaDeviceSynchronize());
        for (size_t turn = 0; turn < 16; turn++) {
            size_t i = random_word(seed, turn) % (total / 16);
            CHECK(cudaMemcpy(&seen, mapped + i, 16, cudaMemcpyDeviceToHost));
            if (!is_same(seen, random_quad(seed, i))) fail("mapped memory holds wrong data");
        }
    }
    add(costs.unmap, handles, [&] { for (int h = 0; h < handles; h++) CHECK_DRIVER(cuMemUnmap_call(base + h * bytes, bytes)); });
    add(costs.release, handles, [&] { for (auto one : made) CHECK_DRIVER(cuMemRelease_call(one)); });
    add(costs.free_range, 1, [&] { CHECK_DRIVER(cuMemAddressFree_call(base, total)); });
}

static void measure(size_t granularity, size_t bytes, int handles, bool is_access_at_once, const Options &options) {
    Costs costs, ignored;
    round_trip(ignored, bytes, handles, is_access_at_once, true, options.seed);
    int repeats = options.is_stand_in ? 3 : options.is_quick ? 9 : 31;
    for (int turn = 0; turn < repeats; turn++) round_trip(costs, bytes, handles, is_access_at_once, false, options.seed);
    struct {
        const char *name;
        std::vector<double> *values;
    } calls[] = {{"reserve", &costs.reserve}, {"create", &costs.create}, {"map", &costs.map}, {"set_access", &costs.set_access},
                 {"unmap", &costs.unmap}, {"release", &costs.release}, {"free", &costs.free_range}};
    for (auto &call : calls) {
        Spread us = spread(*call.values);
        printf("%s,%zu,%d,%s,%zu,%.4f,%.4f,%.4f,%d\n", call.name, bytes, handles, is_access_at_once ? "whole_range" : "each_handle",
               granularity, us.median, us.low, us.high, repeats);
    }
    fflush(stdout);
}

int main(int count, char **words) {
    Options options = read_options(count, words);
    use_device();
    DRIVER(cuDeviceGetAttribute);
    DRIVER(cuMemGetAllocationGranularity);
    int is_supported = 0;
    CHECK_DRIVER(cuDeviceGetAttribute_call(&is_supported, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0));
    if (!is_supported) leave_out("the driver or device has no virtual memory management");
    CUmemAllocationProp prop = on_device();
    size_t smallest = 0;
    CHECK_DRIVER(cuMemGetAllocationGranularity_call(&smallest, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
    puts("call,handle_bytes,handles,access_set_for,granularity_bytes,time_us,time_low_us,time_high_us,repeats");
    size_t budget = std::min((size_t)(0.25 * free_bytes()), (size_t)4 << 30);
    for (size_t bytes = smallest; bytes <= std::min(budget, (size_t)1 << 30); bytes *= 4) measure(smallest, bytes, 1, true, options);
    for (int handles : {16, 64, 256})
        if (handles * smallest <= budget)
            for (bool is_access_at_once : {false, true}) measure(smallest, smallest, handles, is_access_at_once, options);
    return 0;
}
