#include "service/user_durability.h"

#include "http2/grpc_call.h"

#include <stdio.h>

void user_durability_init(struct user_durability *durability, uint64_t interval_ms)
{
    *durability = (struct user_durability){0};
    if (interval_ms > 0) {
        (void)snprintf(durability->text, sizeof(durability->text), "interval=%llums",
                       (unsigned long long)interval_ms);
    }
}

int user_durability_add(const struct user_durability *durability, struct grpc_call *call)
{
    if (durability->text[0] == '\0') {
        return 0;
    }
    return grpc_call_add_trailer(call, USER_DURABILITY_TRAILER, bytes_from_text(durability->text));
}
