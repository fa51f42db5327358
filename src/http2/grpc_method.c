#include "http2/grpc_method.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct bytes path_key(const void *value)
{
    const struct grpc_method *method = value;

    return bytes_from_text(method->path);
}

/* "/pkg.Service/Method" without the last slash and the method; size 0 when it has no such form. */
static struct bytes service_of(struct bytes path)
{
    const uint8_t *slash = path.size > 1 ? memrchr(path.data + 1, '/', path.size - 1) : NULL;

    if (slash == NULL || path.data[0] != '/') {
        return (struct bytes){0};
    }
    return (struct bytes){path.data + 1, (size_t)(slash - path.data) - 1};
}

static struct bytes service_key(const void *value)
{
    return service_of(path_key(value));
}

int grpc_method_table_init(struct grpc_method_table *table, const struct grpc_method *methods,
                           unsigned count)
{
    /* The seed may be known: a peer can look names up, but not insert any. */
    const struct hash_seed seed = {{0, 0}};
    unsigned i;

    *table = (struct grpc_method_table){.count = count};
    map_init(&table->by_path, path_key, seed);
    map_init(&table->services, service_key, seed);
    table->methods = calloc(count > 0 ? count : 1, sizeof(*table->methods));
    if (table->methods == NULL || map_reserve(&table->by_path, count) != 0 ||
        map_reserve(&table->services, count) != 0) {
        goto fail;
    }
    for (i = 0; i < count; i++) {
        struct grpc_method *method = &table->methods[i];
        struct bytes service;

        *method = methods[i];
        method->index = i;
        service = service_key(method);
        assert(service.size > 0);
        assert(map_find(&table->by_path, path_key(method)) == NULL);
        if (map_insert(&table->by_path, method) != 0) {
            goto fail;
        }
        if (map_find(&table->services, service) == NULL &&
            map_insert(&table->services, method) != 0) {
            goto fail;
        }
    }
    return 0;

fail:
    grpc_method_table_deinit(table);
    return -ENOMEM;
}

void grpc_method_table_deinit(struct grpc_method_table *table)
{
    map_deinit(&table->by_path);
    map_deinit(&table->services);
    free(table->methods);
    *table = (struct grpc_method_table){0};
}

const struct grpc_method *grpc_method_find(const struct grpc_method_table *table, struct bytes path)
{
    return map_find(&table->by_path, path);
}

bool grpc_method_service_is_known(const struct grpc_method_table *table, struct bytes path)
{
    struct bytes service = service_of(path);

    return service.size > 0 && map_find(&table->services, service) != NULL;
}
