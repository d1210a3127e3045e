/* A Vulkan layer that loses the device: the submission of the number that $LOSE_AFTER says, and all that follow on its queue,
   fail as they do where a driver was reset. A device that is opened after that works. `soak` builds and loads it.

   The loader's interface for layers needs these few types, so that no headers have to be installed. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);
typedef struct Link {
    struct Link *next;
    Lookup instance;
    Lookup device;
} Link;
/* What the loader puts into the chain of a create-info to say which layer or driver comes next. */
typedef struct Chain {
    int32_t type;
    const struct Chain *next;
    int32_t function;
    Link *link;
} Chain;
typedef struct {
    int32_t type;
    const Chain *next;
} CreateInfo;
typedef struct {
    int32_t type;
    void *next;
    uint32_t version;
    Lookup instance;
    Lookup device;
    Lookup physical_device;
} Negotiate;

enum { DEVICE_LOST = -4, FAILED = -3, LINK_INFO = 0, INSTANCE_CHAIN = 47, DEVICE_CHAIN = 48 };

static Lookup next_instance, next_device;
static int32_t (*submit)(void *, uint32_t, const void *, uint64_t);
static void *lost;
static long submissions;

static Link *take(const CreateInfo *info, int32_t type) {
    for (Chain *chain = (Chain *)info->next; chain; chain = (Chain *)chain->next)
        if (chain->type == type && chain->function == LINK_INFO) {
            Link *link = chain->link;
            chain->link = link->next;
            return link;
        }
    return NULL;
}

static int32_t create_instance(const CreateInfo *info, const void *allocator, void **instance) {
    Link *link = take(info, INSTANCE_CHAIN);
    if (!link)
        return FAILED;
    next_instance = link->instance;
    return ((int32_t (*)(const void *, const void *, void **))next_instance(NULL, "vkCreateInstance"))(info, allocator, instance);
}

static int32_t create_device(void *physical, const CreateInfo *info, const void *allocator, void **device) {
    Link *link = take(info, DEVICE_CHAIN);
    if (!link)
        return FAILED;
    next_device = link->device;
    Function create = link->instance(NULL, "vkCreateDevice");
    int32_t created = ((int32_t (*)(void *, const void *, const void *, void **))create)(physical, info, allocator, device);
    if (created == 0)
        submit = (int32_t (*)(void *, uint32_t, const void *, uint64_t))next_device(*device, "vkQueueSubmit");
    lost = NULL;
    return created;
}

static int32_t queue_submit(void *queue, uint32_t count, const void *infos, uint64_t fence) {
    const char *after = getenv("LOSE_AFTER");
    if (after && ++submissions == atol(after))
        lost = queue;
    return lost == queue ? DEVICE_LOST : submit(queue, count, infos, fence);
}

static Function device_lookup(void *device, const char *name);

static Function own(const char *name) {
    static const struct {
        const char *name;
        Function function;
    } functions[] = {
        {"vkCreateInstance", (Function)create_instance}, {"vkCreateDevice", (Function)create_device},
        {"vkQueueSubmit", (Function)queue_submit},       {"vkGetDeviceProcAddr", (Function)device_lookup},
    };
    for (size_t at = 0; at < sizeof functions / sizeof *functions; at++)
        if (!strcmp(name, functions[at].name))
            return functions[at].function;
    return NULL;
}

static Function device_lookup(void *device, const char *name) {
    Function found = own(name);
    return found ? found : next_device(device, name);
}

static Function instance_lookup(void *instance, const char *name) {
    if (!strcmp(name, "vkGetInstanceProcAddr"))
        return (Function)instance_lookup;
    Function found = own(name);
    return found ? found : next_instance ? next_instance(instance, name) : NULL;
}

int32_t vkNegotiateLoaderLayerInterfaceVersion(Negotiate *about) {
    about->version = 2;
    about->instance = instance_lookup;
    about->device = device_lookup;
    about->physical_device = NULL;
    return 0;
}
