#include "userctl_describe.h"

#include "common_json.h"
#include "common_output.h"
#include "core/list.h"
#include "userctl_reflection.h"
#include "userctl_session.h"

#include <stdlib.h>
#include <string.h>

void userctl_describe_method(FILE *out, const struct userctl_method *method)
{
    (void)fprintf(out, "rpc %s(%s%s) returns (%s%s);\n", method->name,
                  method->client_streams ? "stream " : "", method->input_name,
                  method->server_streams ? "stream " : "", method->output_name);
}

static void print_service(FILE *out, const struct userctl_service *service)
{
    (void)fprintf(out, "service %s {\n", service->name);
    for (size_t i = 0; i < service->method_count; i++) {
        (void)fputs("  ", out);
        userctl_describe_method(out, &service->methods[i]);
    }
    (void)fputs("}\n", out);
}

static void print_field(FILE *out, const struct userctl_field *field, const char *indent)
{
    (void)fputs(indent, out);
    if (userctl_schema_is_map(field)) {
        const struct userctl_field *value = userctl_schema_number(field->message, 2);
        const struct userctl_field *key = userctl_schema_number(field->message, 1);

        (void)fprintf(out, "map<%s, %s>", userctl_schema_type_name(key),
                      userctl_schema_type_name(value));
    } else {
        (void)fprintf(out, "%s%s",
                      field->is_repeated   ? "repeated "
                      : field->is_required ? "required "
                      : field->is_optional ? "optional "
                                           : "",
                      userctl_schema_type_name(field));
    }
    (void)fprintf(out, " %s = %u;\n", field->name, (unsigned)field->number);
}

/* The fields of a oneof stand together; that of a field with the word `optional` is none. */
static void print_message(FILE *out, const struct userctl_message *message)
{
    (void)fprintf(out, "message %s {\n", message->name);
    for (size_t i = 0; i < message->field_count; i++) {
        const struct userctl_field *field = &message->fields[i];
        bool is_in_oneof = field->oneof >= 0 && !field->is_optional;
        bool is_first = i == 0 || message->fields[i - 1].oneof != field->oneof;
        bool is_last =
            i + 1 == message->field_count || message->fields[i + 1].oneof != field->oneof;

        if (is_in_oneof && is_first) {
            (void)fprintf(out, "  oneof %s {\n", message->oneofs[field->oneof]);
        }
        print_field(out, field, is_in_oneof ? "    " : "  ");
        if (is_in_oneof && is_last) {
            (void)fputs("  }\n", out);
        }
    }
    (void)fputs("}\n", out);
}

void userctl_describe_symbol(FILE *out, const struct userctl_symbol *symbol)
{
    if (symbol->service != NULL) {
        print_service(out, symbol->service);
    } else if (symbol->message != NULL) {
        print_message(out, symbol->message);
    } else {
        (void)fprintf(out, "enum %s {\n", symbol->name);
        for (size_t i = 0; i < symbol->enumeration->value_count; i++) {
            (void)fprintf(out, "  %s = %d;\n", symbol->enumeration->values[i].name,
                          (int)symbol->enumeration->values[i].number);
        }
        (void)fputs("}\n", out);
    }
}

static void print_name(void *context, struct bytes name)
{
    (void)context;
    common_json_plain(stdout, name);
    (void)fputc('\n', stdout);
}

/* What stands before the last dot, as a service, and behind it, as its method. */
static const struct userctl_method *find_method(const struct userctl_schema *schema,
                                                const char *symbol)
{
    const char *dot = strrchr(symbol, '.');
    char *name = dot == NULL ? NULL : strndup(symbol, (size_t)(dot - symbol));
    const struct userctl_symbol *found = name == NULL ? NULL : userctl_schema_find(schema, name);

    free(name);
    return found == NULL || found->service == NULL ? NULL
                                                   : userctl_schema_method(found->service, dot + 1);
}

/* The paths of all methods of a service, to be called by. */
static void print_paths(const struct userctl_service *service)
{
    for (size_t i = 0; i < service->method_count; i++) {
        (void)printf("/%s/%s\n", service->name, service->methods[i].name);
    }
}

/* Some servers know no methods by their names, but the services that have them. */
static int fetch(struct userctl_reflection *reflection, const char *name,
                 struct userctl_schema *schema)
{
    int ret = userctl_reflection_fetch(reflection, name, schema);
    const char *dot = strrchr(name, '.');
    char *service;

    if (ret != USERCTL_REFLECTION_E_UNKNOWN || dot == NULL || dot == name) {
        return ret;
    }
    service = strndup(name, (size_t)(dot - name));
    if (service != NULL) {
        ret = userctl_reflection_fetch(reflection, service, schema);
    }
    free(service);
    return ret;
}

static int describe(struct userctl_reflection *reflection, const char *name)
{
    const struct userctl_symbol *symbol;
    const struct userctl_method *method;
    struct userctl_schema schema;
    int ret;

    userctl_schema_init(&schema);
    ret = fetch(reflection, name, &schema);
    symbol = ret == 0 ? userctl_schema_find(&schema, name) : NULL;
    method = ret == 0 ? find_method(&schema, name) : NULL;
    if (ret == USERCTL_REFLECTION_E_FAILED) {
        ret = reflection->exit_code;
    } else if (symbol != NULL && symbol->service != NULL && reflection->arguments->list) {
        print_paths(symbol->service);
    } else if (symbol != NULL) {
        userctl_describe_symbol(stdout, symbol);
    } else if (method != NULL) {
        userctl_describe_method(stdout, method);
    } else {
        ret = userctl_reflection_unknown(reflection, name);
    }
    userctl_schema_deinit(&schema);
    return ret;
}

/* "/pkg.Service/Method", as a call has it, goes by "pkg.Service.Method" here. */
static int describe_operand(struct userctl_reflection *reflection, const char *operand)
{
    char *name = strdup(operand + (operand[0] == '/' || operand[0] == '.'));
    int ret;

    if (name == NULL) {
        userctl_failure_say("out of memory");
        return COMMON_EXIT_SOFTWARE;
    }
    for (char *at = name; *at != '\0'; at++) {
        *at = (char)(*at == '/' ? '.' : *at);
    }
    ret = describe(reflection, name);
    free(name);
    return ret;
}

static int use_describe(struct userctl_session *session, struct userd_client *client)
{
    const char *name = session->arguments->operand;
    struct userctl_reflection reflection;
    int ret;

    userctl_reflection_begin(&reflection, session->arguments, client);
    if (name == NULL) {
        ret = userctl_reflection_services(&reflection, print_name, NULL);
        ret = ret == USERCTL_REFLECTION_E_FAILED ? reflection.exit_code : ret;
    } else {
        ret = describe_operand(&reflection, name);
    }
    userctl_reflection_end(&reflection);
    return ret;
}

int userctl_describe_run(const struct userctl_arguments *arguments)
{
    struct userctl_session session = {.arguments = arguments, .use = use_describe, .is_walk = true};

    userctl_session_catch_signals();
    return userctl_session_run(&session);
}
