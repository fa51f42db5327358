#include "userctl_wanted.h"

#include <stdio.h>
#include <string.h>

void userctl_wanted_note(struct userctl_wanted *wanted, const char *name)
{
    if (wanted == NULL || wanted->asked_count == USERCTL_WANTED_MAX ||
        strlen(name) >= USERCTL_WANTED_SIZE) {
        return;
    }
    for (unsigned i = 0; i < wanted->asked_count; i++) {
        if (strcmp(wanted->asked[i], name) == 0) {
            return;
        }
    }
    (void)snprintf(wanted->name, sizeof(wanted->name), "%s", name);
}

const char *userctl_wanted_take(struct userctl_wanted *wanted)
{
    char *asked;

    if (wanted->name[0] == '\0') {
        return NULL;
    }
    asked = wanted->asked[wanted->asked_count++];
    memcpy(asked, wanted->name, sizeof(wanted->name));
    wanted->name[0] = '\0';
    return asked;
}
