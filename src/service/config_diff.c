#include "service/config_diff.h"

#include "service/config_table.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SWAP_SIZE_MAX 256

static size_t field_size(const struct config_option *option)
{
    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESS:
        return sizeof(char *);
    case CONFIG_TYPE_ADDRESSES:
        return sizeof(struct config_list);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_SIZE:
        return sizeof(uint64_t);
    case CONFIG_TYPE_BOOL:
        return sizeof(bool);
    case CONFIG_TYPE_ENUM:
        return sizeof(unsigned);
    }
    assert(false);
    return 0;
}

static const void *field_of(const struct config *config, const struct config_option *option)
{
    return (const char *)config + option->offset;
}

static bool lists_equal(const struct config_list *a, const struct config_list *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

static bool fields_equal(const struct config_option *option, const void *a, const void *b)
{
    switch (option->type) {
    case CONFIG_TYPE_TEXT:
    case CONFIG_TYPE_PATH:
    case CONFIG_TYPE_ADDRESS:
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    case CONFIG_TYPE_ADDRESSES:
        return lists_equal(a, b);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_SIZE:
    case CONFIG_TYPE_BOOL:
    case CONFIG_TYPE_ENUM:
        return memcmp(a, b, field_size(option)) == 0;
    }
    assert(false);
    return false;
}

static bool principals_equal(const struct policy_principal *a, const struct policy_principal *b)
{
    return a->kind == b->kind && (a->name == NULL) == (b->name == NULL) &&
           (a->name == NULL || strcmp(a->name, b->name) == 0);
}

static bool rules_equal(const struct policy_rule *a, const struct policy_rule *b)
{
    if (a->denies != b->denies || strcmp(a->path, b->path) != 0 ||
        a->principal_count != b->principal_count) {
        return false;
    }
    for (unsigned i = 0; i < a->principal_count; i++) {
        if (!principals_equal(&a->principals[i], &b->principals[i])) {
            return false;
        }
    }
    return true;
}

static bool policies_equal(const struct config_policy *a, const struct config_policy *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (!rules_equal(&a->rules[i], &b->rules[i])) {
            return false;
        }
    }
    return true;
}

void config_diff(const struct config *old, const struct config *fresh, struct config_diff *ret)
{
    *ret = (struct config_diff){.policy = !policies_equal(&old->policy, &fresh->policy)};
    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];

        if (!fields_equal(option, field_of(old, option), field_of(fresh, option))) {
            ret->changed[i] = true;
            *(option->reloadable ? &ret->taken : &ret->kept) += 1;
        }
    }
}

bool config_diff_touches(const struct config_diff *diff, const char *section)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        if (diff->changed[i] && config_options[i].reloadable &&
            strcmp(config_options[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

/* Returns false when there was no room; then "..." ends the text. */
static bool append_name(char *out, size_t room, const char *section, const char *key)
{
    size_t used = strlen(out);
    int size = snprintf(out + used, room - used, "%s%s%s%s", used == 0 ? "" : ", ", section,
                        key[0] == '\0' ? "" : ".", key);

    if (size >= 0 && used + (size_t)size + sizeof(", ...") <= room) {
        return true;
    }
    (void)snprintf(out + used, room - used, "%s...", used == 0 ? "" : ", ");
    return false;
}

void config_diff_name(const struct config_diff *diff, bool taken, char *out, size_t room)
{
    bool fits = true;

    assert(room >= sizeof(", ..."));
    out[0] = '\0';
    for (unsigned i = 0; i < config_option_count && fits; i++) {
        if (diff->changed[i] && config_options[i].reloadable == taken) {
            fits = append_name(out, room, config_options[i].section, config_options[i].key);
        }
    }
    if (taken && diff->policy && fits) {
        (void)append_name(out, room, "policy", "");
    }
}

static void swap(void *a, void *b, size_t size)
{
    char kept[SWAP_SIZE_MAX];

    assert(size <= sizeof(kept));
    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

void config_diff_take(struct config *in_force, struct config *fresh)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];

        if (option->reloadable) {
            swap((char *)in_force + option->offset, (char *)fresh + option->offset,
                 field_size(option));
            swap(&in_force->origins[i], &fresh->origins[i], sizeof(struct config_origin));
        }
    }
    swap(&in_force->policy, &fresh->policy, sizeof(struct config_policy));
    swap(&in_force->warnings, &fresh->warnings, sizeof(struct buf));
}
