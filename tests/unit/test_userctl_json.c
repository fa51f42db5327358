#include "lib/unit.h"

#include "../tools/userctl_decode.h"
#include "../tools/userctl_encode.h"
#include "core/buf.h"
#include "http2/proto_wire.h"

#include <stdio.h>

/* JSON to messages and back. The bytes are those of another implementation. */

#define TEXT_SIZE 4096

extern const struct bytes userctl_every_descriptors;

static struct userctl_schema schema;
static const struct userctl_message *every;

static void setup(void)
{
    struct bytes rest = userctl_every_descriptors;
    struct proto_wire_field field;
    char problem[USERCTL_SCHEMA_PROBLEM_SIZE];

    userctl_schema_init(&schema);
    while (proto_wire_read(&rest, &field) == 0) {
        ck_assert_int_eq(userctl_schema_add(&schema, field.bytes, problem), 0);
    }
    ck_assert_int_eq(userctl_schema_link(&schema), 0);
    every = userctl_schema_find(&schema, "every.v1.Every")->message;
}

static void to_hex(struct bytes bytes, char *out)
{
    for (size_t i = 0; i < bytes.size; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", bytes.data[i]);
    }
    out[2 * bytes.size] = '\0';
}

static struct bytes from_hex(const char *hex, uint8_t *out)
{
    size_t size = strlen(hex) / 2;

    for (size_t i = 0; i < size; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

        out[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return (struct bytes){out, size};
}

/* The JSON of bytes, or the problem after a "!". */
static void decode(struct bytes bytes, char *out)
{
    char problem[USERCTL_DECODE_PROBLEM_SIZE];
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    int ret = userctl_decode(&schema, every, bytes, NULL, file, problem);

    (void)fclose(file);
    (void)snprintf(out, TEXT_SIZE, "%s%s", ret == 0 ? "" : "!", ret == 0 ? text : problem);
    free(text);
}

static int encode(const char *json, struct buf *out, char *problem)
{
    return userctl_encode(&schema, every, bytes_from_text(json), NULL, out, problem);
}

static const struct {
    const char *json;
    const char *bytes; /* NULL = defaults are written out, which others leave out */
} pairs[] = {
    {"{}", ""},
    {"{\"a_double\":1.5,\"a_float\":-0.1,\"an_int32\":-1,\"an_int64\":\"-9223372036854775808\"}",
     "09000000000000f83f15cdccccbd18ffffffffffffffffff012080808080808080808001"},
    {"{\"a_double\":\"NaN\",\"a_float\":\"-Infinity\"}", "09000000000000f87f15000080ff"},
    {"{\"a_double\":0.1,\"a_float\":16777216}", "099a9999999999b93f150000804b"},
    {"{\"a_double\":1e+300,\"doubles\":[\"Infinity\",0,1e-07]}",
     "099c7500883ce4377eca0118000000000000f07f000000000000000048afbc9af2d77a3e"},
    {"{\"a_uint32\":4294967295,\"a_uint64\":\"18446744073709551615\"}",
     "28ffffffff0f30ffffffffffffffffff01"},
    {"{\"a_sint32\":-2147483648,\"a_sint64\":\"-3\"}", "38ffffffff0f4005"},
    {"{\"a_fixed32\":7,\"a_fixed64\":\"8\",\"a_sfixed32\":-9,\"a_sfixed64\":\"-10\"}",
     "4d070000005108000000000000005df7ffffff61f6ffffffffffffff"},
    {"{\"a_bool\":true,\"a_string\":\"é\\u000a\\\"€\",\"some_bytes\":\"AP/+\"}",
     "68017207c3a90a22e282ac7a0300fffe"},
    {"{\"some_bytes\":\"YQ==\"}", "7a0161"},
    {"{\"some_bytes\":\"YWI=\"}", "7a026162"},
    {"{\"color\":\"COLOR_RED\",\"colors\":[\"COLOR_BELOW\",5,\"COLOR_RED\"]}",
     "800101ba010cffffffffffffffffff010501"},
    {"{\"child\":{\"child\":{\"a_string\":\"deep\"}}}", "8a01098a0106720464656570"},
    {"{\"child\":{}}", "8a0100"},
    {"{\"numbers\":[1,-2,300],\"words\":[\"a\",\"\",\"c\"],\"children\":[{},{\"a_bool\":true}]}",
     "a2010d01feffffffffffffffff01ac02aa010161aa0100aa010163b20100b201026801"},
    {"{\"loose\":[-1,1],\"fixes\":[1,2]}", "c00101c00102d201080100000002000000"},
    {"{\"by_name\":{\"one\":1}}", "f201070a036f6e651001"},
    {"{\"by_number\":{\"-5\":\"five\"}}", "fa011108fbffffffffffffffff01120466697665"},
    {"{\"by_truth\":{\"true\":{\"a_bool\":true}}}", "820206080112026801"},
    {"{\"by_small\":{\"3\":\"COLOR_RED\"}}", "8a020408031001"},
    {"{\"by_text\":\"\"}", "c20200"},
    {"{\"by_int\":0}", "c80200"},
    {"{\"by_child\":{}}", "d20200"},
    {"{\"maybe\":0}", "d80200"},
    {"{\"time\":\"2026-01-31T12:34:56.789Z\",\"duration\":\"-1.000000001s\"}",
     "92030c08f0edf7cb0610c0de9cf8029a031608ffffffffffffffffff0110ffffffffffffffffff01"},
    {"{\"time\":\"0001-01-01T00:00:00Z\",\"duration\":\"315576000000s\"}",
     "92030b088092b8c398feffffff019a03070880bcaece9709"},
    {"{\"time\":\"1969-12-31T23:59:59.000001Z\"}", "92030e08ffffffffffffffffff0110e807"},
    {"{\"times\":[\"1970-01-01T00:00:00Z\",\"9999-12-31T23:59:59.999999999Z\"]}",
     "92040092040d08ff82d1ffaf0710ff93ebdc03"},
    {"{\"mask\":\"aString,child.byText\"}",
     "a203190a08615f737472696e670a0d6368696c642e62795f74657874"},
    {"{\"nothing\":{}}", "aa0300"},
    {"{\"any\":{\"@type\":\"type.googleapis.com/every.v1.Every\",\"a_string\":\"x\"}}",
     "b203290a22747970652e676f6f676c65617069732e636f6d2f65766572792e76312e45766572791203720178"},
    {"{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\",\"value\":\"3s\"}}",
     "b203320a2c747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e44757261746"
     "96f6e12020803"},
    {"{\"object\":{\"a\":1}}", "ba03100a0e0a0161120911000000000000f03f"},
    {"{\"value\":null}", "c203020800"},
    {"{\"value\":[1,\"a\",true,null,{\"b\":2.5}]}",
     "c2032e322c0a0911000000000000f03f0a031a01610a0220010a0208000a122a100a0e0a016212091100000000000"
     "00440"},
    {"{\"list\":[]}", "ca0300"},
    {"{\"boxed_int64\":\"5\",\"boxed_string\":\"\",\"boxed_bool\":false,\"boxed_bytes\":\"YQ==\","
     "\"boxed_double\":1.5}",
     NULL},
    {"{\"boxed_float\":0.25,\"boxed_uint32\":7}", "8204050d0000803e8a04020807"},
    {"{\"values\":{\"x\":\"y\"}}", "9a04080a017812031a0179"},
    {"{\"renamed\":\"r\"}", "b2040172"},
    {"{\"old\":{\"must\":0,\"may\":\"\",\"loose\":[1,2],\"packed\":[3,4],\"inner\":{\"flag\":false,"
     "\"kind\":\"TWO\"}}}",
     "ba04120800120018011802220203042a0408001002"},
};

START_TEST(json_maps_both_ways)
{
    setup();
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char problem[USERCTL_ENCODE_PROBLEM_SIZE];
        char text[TEXT_SIZE];
        struct buf message = {0};

        ck_assert_msg(encode(pairs[i].json, &message, problem) == 0, "%s: %s", pairs[i].json,
                      problem);
        if (pairs[i].bytes != NULL) {
            to_hex(buf_bytes(&message), text);
            ck_assert_msg(strcmp(text, pairs[i].bytes) == 0, "%s:\n  %s, expected\n  %s",
                          pairs[i].json, text, pairs[i].bytes);
        }
        decode(buf_bytes(&message), text);
        ck_assert_str_eq(text, pairs[i].json);
        buf_deinit(&message);
    }
    userctl_schema_deinit(&schema);
}

END_TEST

/* Other ways to write it: what comes back is the one way above. */
static const struct {
    const char *json;
    const char *back;
} spellings[] = {
    {"{\"anInt32\": 3.0, \"anInt64\": 5, \"aUint64\": 7, \"aSint64\": \"1e3\"}",
     "{\"an_int32\":3,\"an_int64\":\"5\",\"a_uint64\":\"7\",\"a_sint64\":\"1000\"}"},
    {"{\"an_int32\": \"12\", \"a_uint32\": 1e3, \"a_double\": \"2.5\", \"a_float\": 1}",
     "{\"a_double\":2.5,\"a_float\":1,\"an_int32\":12,\"a_uint32\":1000}"},
    {"{\"an_int32\": 0, \"a_string\": \"\", \"a_bool\": false, \"color\": 0, \"a_double\": 0}",
     "{}"},
    {"{\"an_int32\": null, \"children\": null, \"by_name\": null, \"time\": null}", "{}"},
    {"{\"some_bytes\": \"__8\"}", "{\"some_bytes\":\"//8=\"}"},
    {"{\"some_bytes\": \"YR==\"}", "{\"some_bytes\":\"YQ==\"}"}, /* bits beyond the last byte */
    {"{\"some_bytes\": \"YWK\"}", "{\"some_bytes\":\"YWI=\"}"},
    {"{\"some_bytes\": \"_-9\"}", "{\"some_bytes\":\"/+8=\"}"},
    {"{\"color\": 1, \"colors\": [\"COLOR_RED\"]}",
     "{\"color\":\"COLOR_RED\",\"colors\":[\"COLOR_RED\"]}"},
    {"{\"color\": 77}", "{\"color\":77}"},
    {"{\"time\": \"2026-01-31T13:34:56+01:00\"}", "{\"time\":\"2026-01-31T12:34:56Z\"}"},
    {"{\"duration\": \"0.5s\"}", "{\"duration\":\"0.500s\"}"},
    {"{\"mask\": \"a_string,child.by_text\"}", "{\"mask\":\"aString,child.byText\"}"},
    {"{\"mask\": \"\"}", "{\"mask\":\"\"}"},
    {"{\"any\": {}}", "{\"any\":{}}"},
    {"{\"by_text\": null, \"by_int\": 4}", "{\"by_int\":4}"},
    {"{\"renamed\": \"r\"}", "{\"renamed\":\"r\"}"},
    {"{\"other-name\": \"r\"}", "{\"renamed\":\"r\"}"},
    {"{\"a_string\": \"a\\u0000b\"}", "{\"a_string\":\"a\\u0000b\"}"},
    {"{\"boxed_int64\": null}", "{}"},
    {"{\"boxed_bool\": true, \"boxed_int64\": 0}", "{\"boxed_int64\":\"0\",\"boxed_bool\":true}"},
    {"{\"numbers\": [], \"words\": [], \"by_name\": {}}", "{}"},
    {"{\"null_value\": null, \"a_bool\": true}", "{\"a_bool\":true}"},
    {"{\"time\": \"2024-02-29T00:00:00z\"}", "{\"time\":\"2024-02-29T00:00:00Z\"}"},
};

START_TEST(json_takes_other_spellings)
{
    setup();
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        char problem[USERCTL_ENCODE_PROBLEM_SIZE];
        char text[TEXT_SIZE];
        struct buf message = {0};

        ck_assert_msg(encode(spellings[i].json, &message, problem) == 0, "%s: %s",
                      spellings[i].json, problem);
        decode(buf_bytes(&message), text);
        ck_assert_str_eq(text, spellings[i].back);
        buf_deinit(&message);
    }
    userctl_schema_deinit(&schema);
}

END_TEST

/* Each problem says where, and what was expected; nothing of a value is in it. */
static const struct {
    const char *json;
    const char *problem;
} mistakes[] = {
    {"[]", "$: expected an object, this is a list"},
    {"{\"an_int32\": 3.5}", "$.an_int32: expected a whole number of 32 bits"},
    {"{\"an_int32\": 2147483648}", "$.an_int32: expected a whole number of 32 bits"},
    {"{\"an_int32\": true}", "$.an_int32: expected a whole number of 32 bits"},
    {"{\"an_int32\": {}}", "$.an_int32: expected a whole number of 32 bits, this is an object"},
    {"{\"an_int32\": \"\"}", "$.an_int32: expected a whole number of 32 bits"},
    {"{\"an_int32\": \"0x10\"}", "$.an_int32: expected a whole number of 32 bits"},
    {"{\"an_int64\": \"9223372036854775808\"}", "$.an_int64: expected a whole number of 64 bits"},
    {"{\"a_uint32\": -1}", "$.a_uint32: expected a whole number from 0 to 4294967295"},
    {"{\"a_uint64\": \"-1\"}",
     "$.a_uint64: expected a whole number from 0 to 18446744073709551615"},
    {"{\"a_uint64\": \"18446744073709551616\"}", "$.a_uint64: expected a whole number from 0"},
    {"{\"a_fixed32\": \"18446744073709551615\"}", "$.a_fixed32: expected a whole number from 0"},
    {"{\"an_int64\": 9223372036854775808}", "a number is too large; in quotes it may have 64 bits"},
    {"{\"a_float\": 1e39}", "$.a_float: expected a number of a float's range"},
    {"{\"a_double\": \"1e999\"}", "$.a_double: expected a number"},
    {"{\"a_double\": \"nan\"}", "$.a_double: expected a number"},
    {"{\"a_bool\": \"true\"}", "$.a_bool: expected true or false"},
    {"{\"a_bool\": 1}", "$.a_bool: expected true or false"},
    {"{\"a_string\": 3}", "$.a_string: expected a string, this is a number"},
    {"{\"some_bytes\": \"a\"}", "$.some_bytes: expected bytes in base64"},
    {"{\"some_bytes\": \"?secret?\"}", "$.some_bytes: expected bytes in base64"},
    {"{\"color\": \"secret\"}",
     "$.color: expected a value of every.v1.Color: COLOR_UNSPECIFIED, COLOR_RED, COLOR_BELOW"},
    {"{\"color\": \"COLOR_RED\\u0000x\"}", "$.color: expected a value of every.v1.Color"},
    {"{\"time\": \"2026-01-31T12:34:56Z\\u0000x\"}", "$.time: expected a time"},
    {"{\"duration\": \"1s\\u0000x\"}", "$.duration: expected a duration"},
    {"{\"mask\": \"email\\u0000,roles\"}", "$.mask: expected a string of paths"},
    {"{\"an_int64\": \"5\\u0000x\"}", "$.an_int64: expected a whole number of 64 bits"},
    {"{\"any\": {\"@type\": \"x/every.v1.Every\\u0000x\"}}", "$.any: expected an object with"},
    {"{\"color\": 2147483648}", "$.color: expected a value of every.v1.Color"},
    {"{\"child\": {\"child\": {\"an_int32\": \"x\"}}}", "$.child.child.an_int32: expected"},
    {"{\"child\": 1}", "$.child: expected an object, this is a number"},
    {"{\"children\": [{}, {\"a_bool\": 1}]}", "$.children[1].a_bool: expected true or false"},
    {"{\"children\": {}}", "$.children: expected a list, this is an object"},
    {"{\"children\": [null]}", "$.children[0]: a list takes no null"},
    {"{\"numbers\": [1, \"x\"]}", "$.numbers[1]: expected a whole number of 32 bits"},
    {"{\"numbers\": [null]}", "$.numbers[0]: expected a whole number of 32 bits, this is null"},
    {"{\"colors\": [\"x\"]}", "$.colors[0]: expected a value of every.v1.Color"},
    {"{\"by_name\": []}", "$.by_name: expected an object, this is a list"},
    {"{\"by_name\": {\"k\": \"x\"}}", "$.by_name.k: expected a whole number of 32 bits"},
    {"{\"by_number\": {\"x\": \"\"}}", "$.by_number.x: expected a whole number of 64 bits"},
    {"{\"by_truth\": {\"yes\": {}}}", "$.by_truth.yes: expected true or false"},
    {"{\"by_truth\": {\"true\": null}}", "$.by_truth.true: a map takes no null"},
    {"{\"by_text\": \"\", \"by_int\": 0}",
     "$.by_int: only one field of the oneof choice may be set"},
    {"{\"an_int32\": 1, \"anInt32\": 1}", "$.an_int32: this field is there twice"},
    {"{\"an_int32\": 1, \"an_int32\": 1}", "no JSON: a field is there twice (line 1"},
    {"{\"an_imt32\": 1}", "$.an_imt32: every.v1.Every has no such field; did you mean an_int32?"},
    {"{\"shoe\": 1}", "$.shoe: every.v1.Every has no such field"},
    {"{\"\\u001b[31m\": 1}", "$.?[31m: every.v1.Every has no such field"},
    {"{\"time\": \"yesterday\"}", "$.time: expected a time such as"},
    {"{\"time\": \"2026-02-30T00:00:00Z\"}", "$.time: expected a time such as"},
    {"{\"time\": \"2026-01-31T24:00:00Z\"}", "$.time: expected a time such as"},
    {"{\"time\": \"2026-01-31T00:00:00\"}", "$.time: expected a time such as"},
    {"{\"time\": \"0001-01-01T00:00:00+01:00\"}", "$.time: expected a time such as"},
    {"{\"time\": 5}", "$.time: expected a time such as"},
    {"{\"duration\": \"1\"}", "$.duration: expected a duration such as"},
    {"{\"duration\": \"315576000001s\"}", "$.duration: expected a duration such as"},
    {"{\"duration\": \"1.0000000001s\"}", "$.duration: expected a duration such as"},
    {"{\"mask\": [\"a\"]}", "$.mask: expected a string of paths"},
    {"{\"nothing\": {\"a\": 1}}", "$.nothing.a: google.protobuf.Empty has no such field"},
    {"{\"any\": {\"a\": 1}}", "$.any: expected an object with \"@type\""},
    {"{\"any\": {\"@type\": \"x/y.Z\"}}", "$.any: the server does not describe the type"},
    {"{\"any\": {\"@type\": \"x/google.protobuf.Duration\"}}", "$.any: expected \"value\" beside"},
    {"{\"any\": {\"@type\": \"x/every.v1.Every\", \"shoe\": 1}}", "$.any.shoe: every.v1.Every has"},
    {"{\"object\": 3}", "$.object: expected an object, this is a number"},
    {"{\"list\": {}}", "$.list: expected a list, this is an object"},
    {"{\"boxed_int64\": {}}", "$.boxed_int64: expected a whole number of 64 bits"},
    {"{\"old\": {\"grouped\": {}}}", "$.old.grouped: groups of proto2 are not supported"},
    {"{\"a_string\": \"secret", "no JSON: it ends too early (line 1"},
    {"{\"a_string\": secret}", "no JSON: it is malformed (line 1"},
    {"{} {}", "no JSON: something follows its end (line 1"},
    {"{\"a_string\": \"\xff\"}", "no JSON: this is not UTF-8 (line 1"},
    {"", "no JSON: it ends too early"},
};

START_TEST(json_mistakes_are_told)
{
    setup();
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        char problem[USERCTL_ENCODE_PROBLEM_SIZE];
        struct buf message = {0};

        ck_assert_msg(encode(mistakes[i].json, &message, problem) == USERCTL_ENCODE_E_BAD,
                      "%s is taken", mistakes[i].json);
        ck_assert_msg(strncmp(problem, mistakes[i].problem, strlen(mistakes[i].problem)) == 0,
                      "%s:\n  %s, expected\n  %s", mistakes[i].json, problem, mistakes[i].problem);
        ck_assert_msg(strstr(problem, "secret") == NULL, "%s: %s", mistakes[i].json, problem);
        buf_deinit(&message);
    }
    userctl_schema_deinit(&schema);
}

END_TEST

/* `opening`, so many times, then `inner`, then as many times `closing`. */
static char *nested(const char *opening, const char *inner, const char *closing, size_t count)
{
    size_t size = count * (strlen(opening) + strlen(closing)) + strlen(inner) + 1;
    char *text = malloc(size);
    FILE *file = fmemopen(text, size, "w");

    for (size_t i = 0; i < count; i++) {
        (void)fputs(opening, file);
    }
    (void)fputs(inner, file);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(closing, file);
    }
    (void)fclose(file);
    return text;
}

static void expect_too_deep(const char *opening, const char *inner, const char *closing)
{
    char problem[USERCTL_ENCODE_PROBLEM_SIZE];
    struct buf message = {0};
    char *text = nested(opening, inner, closing, USERCTL_ENCODE_DEPTH_MAX + 10);

    ck_assert_int_eq(encode(text, &message, problem), USERCTL_ENCODE_E_BAD);
    ck_assert_msg(strstr(problem, "nested more than 64 levels deep") != NULL, "%s: %s", opening,
                  problem);
    free(text);
    text = nested(opening, inner, closing, 5000);
    ck_assert_int_eq(encode(text, &message, problem), USERCTL_ENCODE_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "nested"));
    free(text);
    buf_deinit(&message);
}

START_TEST(json_that_is_nested_too_deeply_is_refused)
{
    char problem[USERCTL_ENCODE_PROBLEM_SIZE];
    struct buf message = {0};
    char text[TEXT_SIZE];
    char *json;

    setup();
    json = nested("{\"child\":", "{}", "}", USERCTL_ENCODE_DEPTH_MAX - 1);
    ck_assert_int_eq(encode(json, &message, problem), 0);
    decode(buf_bytes(&message), text);
    ck_assert_str_eq(text, json);
    free(json);
    buf_deinit(&message);
    expect_too_deep("{\"child\":", "{}", "}");
    expect_too_deep("{\"by_truth\":{\"true\":", "{}", "}}");
    expect_too_deep("{\"any\":{\"@type\":\"x/every.v1.Every\",\"child\":", "{}", "}}");
    expect_too_deep("{\"value\":[", "1", "]}");
    userctl_schema_deinit(&schema);
}

END_TEST

/* A message within a message, as often. */
static void nest_message(struct buf *message, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buf outer = {0};

        ck_assert_int_eq(proto_wire_append_bytes(&outer, 17, buf_bytes(message)), 0);
        buf_deinit(message);
        *message = outer;
    }
}

START_TEST(messages_that_are_nested_too_deeply_are_refused)
{
    struct buf message = {0};
    char text[TEXT_SIZE];

    setup();
    nest_message(&message, USERCTL_DECODE_DEPTH_MAX);
    decode(buf_bytes(&message), text);
    ck_assert_str_eq(text, "!the message is nested more than 64 levels deep");
    buf_deinit(&message);
    userctl_schema_deinit(&schema);
}

END_TEST

/* What a message may look like that no JSON of ours makes. */
static const struct {
    const char *bytes;
    const char *json;
} strange[] = {
    {"18011802", "{\"an_int32\":2}"}, /* the last counts */
    {"8a01021801"
     "8a01026801",
     "{\"child\":{\"an_int32\":1,\"a_bool\":true}}"}, /* merged */
    {"c2020161"
     "c80205",
     "{\"by_int\":5}"}, /* a oneof: the last */
    {"c80205"
     "c2020161",
     "{\"by_text\":\"a\"}"},
    {"a0010118ff01a20102020"
     "3",
     "{\"an_int32\":255,\"numbers\":[1,2,3]}"}, /* both forms */
    {"f2010"
     "0",
     "{\"by_name\":{\"\":0}}"}, /* an empty entry */
    {"f20107"
     "1001"
     "0a036f6e65",
     "{\"by_name\":{\"one\":1}}"}, /* value before key */
    {"f83f01", "{}"},              /* an unknown field */
    {"1800", "{}"},                /* a default that was sent */
    {"7203ffffff", "{\"a_string\":\"\\ufffd\\ufffd\\ufffd\"}"},
    {"72051b5b33316d", "{\"a_string\":\"\\u001b[31m\"}"},
    {"b20300", "{\"any\":{}}"},
    {"b203080a03782f7912"
     "0161",
     "{\"any\":{\"@type\":\"x/y\",\"value\":\"YQ==\"}}"},
    {"c20300", "{\"value\":null}"},
    {"da0300", "{\"boxed_string\":\"\"}"},
    {"80014d", "{\"color\":77}"},
    {"c30c0801c40c1801", "{\"an_int32\":1}"}, /* an unknown group is left out */
    {"c30ccb0c7201ffcc0cc40c1801", "{\"an_int32\":1}"},
    {"c30c1801", "!what the server sent is no every.v1.Every"},
    {"c30ccc0c", "!what the server sent is no every.v1.Every"},
    {"c40c", "!what the server sent is no every.v1.Every"},
    {"ba04023334", "!grouped is a group: groups of proto2 are not supported"},
    {"f201070a036f6e651001"
     "f201070a0374776f1001"
     "f201070a036f6e651002",
     "{\"by_name\":{\"two\":1,\"one\":2}}"}, /* of one key the last */
    {"8a020408031001"
     "8a02060883800010"
     "00",
     "{\"by_small\":{\"3\":\"COLOR_UNSPECIFIED\"}}"}, /* however it is written */
    {"82020b08011202680112037201"
     "61",
     "{\"by_truth\":{\"true\":{\"a_bool\":true,\"a_string\":\"a\"}}}"}, /* a value in pieces */
    {"a203020a05", "!what the server sent is no google.protobuf.FieldMask"},
    {"b203020a05", "!what the server sent is no google.protobuf.Any"},
    {"7201", "!what the server sent is no every.v1.Every"}, /* cut short */
    {"1a0161", "!what the server sent is no an_int32"},     /* a text for a number */
    {"7001", "!what the server sent is no a_string"},
    {"8801"
     "01",
     "!what the server sent is no child"},
    {"a2010180", "!what the server sent is no numbers"}, /* packed, cut short */
    {"d2010101", "!what the server sent is no fixes"},
    {"f001"
     "01",
     "!what the server sent is no by_name"},
    {"f201"
     "02"
     "0800",
     "!what the server sent is no every.v1.Every.ByNameEntry"},
    {"92030a08ffffffffffffffff7f", "!what the server sent is no google.protobuf.Timestamp"},
    {"9a030808011080808080"
     "08",
     "!what the server sent is no google.protobuf.Duration"},
};

START_TEST(strange_messages_are_shown_or_refused)
{
    setup();
    for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        uint8_t bytes[256];
        char text[TEXT_SIZE];

        decode(from_hex(strange[i].bytes, bytes), text);
        ck_assert_msg(strncmp(text, strange[i].json, strlen(strange[i].json)) == 0,
                      "%s:\n  %s, expected\n  %s", strange[i].bytes, text, strange[i].json);
    }
    userctl_schema_deinit(&schema);
}

END_TEST

/* No piece of a good message, and no changed byte of it, is read beyond its end (ASan looks). */
START_TEST(damaged_messages_do_no_harm)
{
    setup();
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        uint8_t bytes[256];
        char text[TEXT_SIZE];
        size_t size = pairs[i].bytes == NULL ? 0 : from_hex(pairs[i].bytes, bytes).size;

        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *piece = malloc(cut + 1); /* its end is the end of the memory */

            memcpy(piece + 1, bytes, cut);
            decode((struct bytes){piece + 1, cut}, text);
            free(piece);
            for (unsigned bit = 0; bit < 8; bit++) {
                bytes[cut] ^= (uint8_t)(1u << bit);
                decode((struct bytes){bytes, size}, text);
                bytes[cut] ^= (uint8_t)(1u << bit);
            }
        }
    }
    userctl_schema_deinit(&schema);
}

END_TEST

/* What an Any holds may be anything: a type that no file describes is noted, once. */
START_TEST(types_that_are_unknown_are_noted)
{
    static const char json[] = "{\"any\":{\"@type\":\"x.y/not.known\",\"value\":\"AQ==\"}}";
    /* any { type_url: "x.y/not.known" value: "\001" } */
    static const char hex[] = "b203120a0d782e792f6e6f742e6b6e6f776e120101";
    static struct userctl_wanted wanted;
    char problem[USERCTL_ENCODE_PROBLEM_SIZE + USERCTL_DECODE_PROBLEM_SIZE];
    struct buf out = {0};
    uint8_t bytes[64];
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);

    setup();
    ck_assert_ptr_null(userctl_wanted_take(&wanted));
    ck_assert_int_eq(userctl_encode(&schema, every, bytes_from_text(json), &wanted, &out, problem),
                     USERCTL_ENCODE_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "does not describe the type"));
    ck_assert_str_eq(userctl_wanted_take(&wanted), "not.known");
    (void)userctl_encode(&schema, every, bytes_from_text(json), &wanted, &out, problem);
    ck_assert_ptr_null(userctl_wanted_take(&wanted));
    wanted.asked_count = 0;
    ck_assert_int_eq(userctl_decode(&schema, every, from_hex(hex, bytes), &wanted, file, problem),
                     0);
    (void)fclose(file);
    ck_assert_str_eq(text, json);
    ck_assert_str_eq(userctl_wanted_take(&wanted), "not.known");
    wanted.asked_count = USERCTL_WANTED_MAX; /* a server cannot make us ask for ever */
    userctl_wanted_note(&wanted, "another");
    ck_assert_ptr_null(userctl_wanted_take(&wanted));
    free(text);
    buf_deinit(&out);
    userctl_schema_deinit(&schema);
}

END_TEST

UNIT_MAIN("userctl_json", types_that_are_unknown_are_noted, json_maps_both_ways,
          json_takes_other_spellings, json_mistakes_are_told,
          json_that_is_nested_too_deeply_is_refused,
          messages_that_are_nested_too_deeply_are_refused, strange_messages_are_shown_or_refused,
          damaged_messages_do_no_harm)
