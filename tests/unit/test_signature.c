#include "lib/token_maker.h"
#include "lib/unit.h"

#include "core/signature.h"

/* The constants here were made with another library (OpenSSL's, through Python), or stand in an
 * RFC. */

#define MESSAGE BYTES_LITERAL("message")

struct number {
    uint8_t *data;
    size_t size;
};

static struct number decode(const char *text)
{
    struct number number = {0};

    number.data = token_maker_decode(text, &number.size);
    return number;
}

static struct bytes bytes_of(struct number number)
{
    return (struct bytes){number.data, number.size};
}

static int new_rsa(const char *modulus, const char *exponent, struct signature_key **ret_key)
{
    struct number n = decode(modulus);
    struct number e = decode(exponent);
    int result = signature_key_new_rsa(bytes_of(n), bytes_of(e), ret_key);

    free(n.data);
    free(e.data);
    return result;
}

static int new_p256(const char *x_text, const char *y_text, struct signature_key **ret_key)
{
    struct number x = decode(x_text);
    struct number y = decode(y_text);
    int result = signature_key_new_p256(bytes_of(x), bytes_of(y), ret_key);

    free(x.data);
    free(y.data);
    return result;
}

static int new_ed25519(const char *text, struct signature_key **ret_key)
{
    struct number x = decode(text);
    int result = signature_key_new_ed25519(bytes_of(x), ret_key);

    free(x.data);
    return result;
}

static struct signature_key *maker_key(enum token_maker_key which)
{
    struct signature_key *key = NULL;
    int result = -1;

    if (which == TOKEN_MAKER_RS256) {
        result = new_rsa(TOKEN_MAKER_RSA_N, "AQAB", &key);
    } else if (which == TOKEN_MAKER_ES256) {
        result = new_p256(TOKEN_MAKER_P256_X, TOKEN_MAKER_P256_Y, &key);
    } else {
        result = new_ed25519(TOKEN_MAKER_ED25519_X, &key);
    }
    ck_assert_int_eq(result, 0);
    return key;
}

static bool is_good(struct signature_key *key, struct bytes message, const char *signature)
{
    struct number number = decode(signature);
    bool good = signature_is_good(key, message, bytes_of(number));

    free(number.data);
    return good;
}

/* The example of RFC 7515 A.2 holds. */
START_TEST(signature_agrees_with_rfc_7515_rs256)
{
    static const char message[] =
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    static const char modulus[] =
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1"
        "Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa"
        "SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4"
        "LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    static const char signature[] =
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O"
        "8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARN"
        "PvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ"
        "1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    struct signature_key *key = NULL;

    ck_assert_int_eq(new_rsa(modulus, "AQAB", &key), 0);
    ck_assert(is_good(key, bytes_from_text(message), signature));
    ck_assert(!is_good(key, MESSAGE, signature));
    signature_key_free(key);
}

END_TEST

/* So does that of A.3. */
START_TEST(signature_agrees_with_rfc_7515_es256)
{
    static const char message[] =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
        "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    static const char signature[] = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8IS"
                                    "lSApmWQxfKTUJqPP3-Kg6NU1Q";
    struct signature_key *key = NULL;

    ck_assert_int_eq(new_p256("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                              "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", &key),
                     0);
    ck_assert(is_good(key, bytes_from_text(message), signature));
    ck_assert(!is_good(key, MESSAGE, signature));
    signature_key_free(key);
}

END_TEST

/* And that of RFC 8037 A.4. */
START_TEST(signature_agrees_with_rfc_8037)
{
    static const char signature[] = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGj"
                                    "g5BhVsPt9g7sVvpAr_MuM0KAg";
    struct signature_key *key = NULL;

    ck_assert_int_eq(new_ed25519("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", &key), 0);
    ck_assert(is_good(
        key, BYTES_LITERAL("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"), signature));
    ck_assert(!is_good(key, MESSAGE, signature));
    signature_key_free(key);
}

END_TEST

/* Of each kind: what the key signed is good, as often as one asks, and for this message only. */
START_TEST(signature_judges_each_kind)
{
    uint8_t signature[TOKEN_MAKER_SIGNATURE_MAX];

    for (unsigned which = TOKEN_MAKER_RS256; which <= TOKEN_MAKER_EDDSA; which++) {
        struct signature_key *key = maker_key(which);
        struct bytes bytes = {signature, token_maker_sign(which, MESSAGE, signature)};

        ck_assert(signature_is_good(key, MESSAGE, bytes));
        ck_assert(signature_is_good(key, MESSAGE, bytes));
        ck_assert(!signature_is_good(key, BYTES_LITERAL("massage"), bytes));
        ck_assert(!signature_is_good(key, (struct bytes){0}, bytes));
        signature_key_free(key);
    }
}

END_TEST

/* Whatever bit of a signature is turned, it is good no more. */
START_TEST(signature_refuses_every_turned_bit)
{
    uint8_t signature[TOKEN_MAKER_SIGNATURE_MAX];

    for (unsigned which = TOKEN_MAKER_RS256; which <= TOKEN_MAKER_EDDSA; which++) {
        struct signature_key *key = maker_key(which);
        size_t size = token_maker_sign(which, MESSAGE, signature);

        for (size_t bit = 0; bit < size * 8; bit += which == TOKEN_MAKER_RS256 ? 5 : 1) {
            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
            ck_assert_msg(!signature_is_good(key, MESSAGE, (struct bytes){signature, size}),
                          "kind %u, bit %zu", which, bit);
            signature[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        ck_assert(signature_is_good(key, MESSAGE, (struct bytes){signature, size}));
        signature_key_free(key);
    }
}

END_TEST

/* A signature of any other length, empty, cut or lengthened, is none. */
START_TEST(signature_has_one_length)
{
    uint8_t signature[SIGNATURE_SIZE_MAX + 64] = {0};

    for (unsigned which = TOKEN_MAKER_RS256; which <= TOKEN_MAKER_EDDSA; which++) {
        struct signature_key *key = maker_key(which);
        size_t size = token_maker_sign(which, MESSAGE, signature);

        for (size_t other = 0; other <= sizeof(signature); other++) {
            ck_assert(signature_is_good(key, MESSAGE, (struct bytes){signature, other}) ==
                      (other == size));
        }
        signature_key_free(key);
    }
}

END_TEST

/* Blocks of PKCS #1 v1.5 and others, over MESSAGE. The first is right. */
static const struct {
    const char *what;
    const char *signature;
} rsa_blocks[] = {
    {"good", "A4UJz_qwkHHvY31ITGObRLWwBowYsft5VtQ4aGeYL07XTOCMjGFINuf-yWADa-cS4K0lwN3BvKhsRXCcUIhD"
             "zVgDtVu64PApWK-cbiAjAtkDLAOh0k6wLEpexZdHawAHom7DXBLotvb145udcry9cnPUSFxHo5wIDKQ-3Bxt"
             "Zk3P85pmxE7C0fIW3HOA3Z9YMq-BHEA_EEX1l06lz7A9wa3Nbp_Sz5qWXDTQLlpq1UFd0Ahr8IjIRtL3Jt3V"
             "TwgqxtaI4IWUbhz48iuG4K3_BvewTSflWU1zj7VYUUoVbQi3wL66qYRSLoPkcoSK-mIYgmWxKuLILIRcJ3Vr"
             "Etq4qg"},
    {"block type 2",
     "dPx5vxkoQ4t2lrEmuUuamZICVrKzaywvLfbxHFkSEGcepn-CuIWmxMNPJmZEAHrQSOS2c10tWX8-tTbtyWXX"
     "bGG1jXGRTCWeG819qh6Sp1ccdtIxozqBm5HIXaoaglEQNuB_YrzwxRZdFSQghPZb026U7MLz31q64xSsS2iE"
     "J8r4xwQTMH1PRm5Bk1H1yXtyQK1kujzlGSyPBY2IO1yAnvalhJv4eGI1QF7Qq7VLsweh8W_J-VDA5LQgC43q"
     "DA1BVnZ9F4qkWVqNkxC0WhbPf_-DYFeM0lXutLNI-fLsR33fastxuRcsJL9Ulab_zsYi3hFux390x3kOzNay"
     "JhsvQw"},
    {"a zero in the padding",
     "c8PsGbukKp5cHGRXk7CGfHBYa4BNlK2AsShZJf-z42uzOaEk3ikcZ2Ku8Z8y5xBGXGm_wiK7iX3C6cJ2Pw8w"
     "spupbNher2yCnFXExX3Q0g8qh5weyNf-ALUfbAjhFCtRDTMHCJH5SNWJWgPSfj31XMe9gSZQXw8X4eypK97o"
     "wt-X4kq6nLZ19geeNTQZe5vWRgXHIOK-HGWpGkeUTAgMkpeJ6STamxaMnqJj2aHsvzjxIUZwqifV1MaFtaS3"
     "stMqluKpdMMg4lptSCH580O5CfVZCM6wv0wUAB6Pvk6Oxb804KpwEolUphqm5t6wRPj8CJW1ssGNNjA8SOZy"
     "HsPojQ"},
    {"short padding, garbage behind (Bleichenbacher 2006)",
     "lj-wW_h4aDYzETjF8ykhNiA6ystQU6O5EGF-7QuL0lDeGf5YCK1eisY2_MIq6N2X8oOK4o4mX42Az78nlvnY"
     "vtxmTrr11eSqlUFZ8PUaXzJ_IGabhz57-tO25up2k7YbA5HUDemV5peEcIzidb5I6jgAlTF_gdXiZnnz-bL0"
     "HtkTF3aK1JCF-8bMtWoAvDRx3Y1DYF99E633WPhECsnhDK1wQ4GWmeLS8v-pv3ZmH6Kd3XS7WnaLdSc27RDp"
     "Oq1Rg-5OBPzy1_FDyVR_IVPvz4_MppsbMi_9wjKuJb3j3iZtpZxcdtyRa3gRF9ne0cvZzHceSZKB5ddiHuoA"
     "iC20dA"},
    {"no NULL in the algorithm",
     "iAOf_MDTNLf7BrZv8m0MSkyuyLQtArwyX-RaZ0pOF5vaSc5JK3VYk0om319qQzBPvN4zbTWGii-a3-YICwxa"
     "HDYbLKwcnyYue-F2J955M-k-DLMntK0kdekocurPPY2SKAihZ0dOY02AIsIS_L1i61weHWCbkiVoLqywFE4H"
     "IJiw_KB5SoejaWRPeNf_6V8LCsuKVnudzPht8MKAyQKS6d8F4sXg14PZ6e_S0ePDxNvQUum1fDLo1IxvHPhU"
     "0r4kzXoUDJ1-zuzsxsXv1NAbqpuE9vfYbDfwUgkL3EII1l47DOuXPgZ8VQcfvPgPpsTuoFeMutveTSX4u-54"
     "haVK3w"},
    {"SHA-1", "Q3bxE61u-QrjgdtTcYKTJ7unQD_rp36aTNZO2A3lpKS7n3lqD3NKWF4Dlei9NkKzPj-o6R74CpDNG5o_wKoQ"
              "yErwig87NAbeffN4wXyY-ci6W0pCl8j9QiljkQ0NJ8iNU3L3WsGFqXogpa4aPMorEau_x4_WOGyzNjXGYPza"
              "2Pl6RIxRQCRERtq5ca-aBK5zmm50OgJOSBGfga4ZmEylwrrOfilDFaopRwdJYt1HyS5tIiRDicMlG849IRrR"
              "_1RtZTPxtMo04jKSJ9Vwyj8VEKHFRxglUQSWA-rHrUhVj7V8IQ6sk2JsyFT6zKNv1xfLvleuwml-R88Wqtbo"
              "_BXgYQ"},
    {"the bare digest",
     "HrObCzed2hvE7DQnLCQX8TNwdLoqy-HkVIRQe95ckr7UN7cvGliKmeF2p9clbLEaUGOCY0lEqL_wl26I4wnk"
     "3dXpGSsgNMpIoIM76NvpSrhicZOqr8BF5tqWObZqCauujU0RCAt0C2utNQbKGRm-7md8lZowncLkwhRUzP-6"
     "3g3SSM2boyjsuLzCmlp1NclzurpT4MJbyV347LsaABxxgzrmHTm-rCekbLAL399GAiOQQaLuUe1E4YKJrb7P"
     "2jmQTm_6bJF0BV1Jk60OifHav_t4M6lVdq0Dui17KUcMH-jLABh811VBI6GVsM4AoqhpBXDBmLk6yWmwuMpT"
     "cRjcTQ"},
    {"SHA-512",
     "EoDl2ueVcsNO7w7PgXZBwiiTql0pecygHktJ0pd2JUVQaqIYD1gwCOZzveBq-j_SquSL3dN2UpaGVfInHJbx"
     "8OcCrsWc1ZHyv32rNXnKaKD1wcu2SIGnsYIkLYsLen68qXVzAGu7S5TxHEMuQmtUYY3TWxb-p9idy0rCXDMS"
     "guovsv07XhrO2HdJMtjHkN871yqQndkGoqiJ3ljMrfBPo1YiczyVwzXzW0CCzoTIVvLVWRM61v9qLe44eDpr"
     "5pS9lOkZG4ULf6MNidEWauamHP2Nt_74B6uiI0781ZnRMlijc_QSlrtVWNyz5ZHM5AbSa-Mh0z1MuFERfClb"
     "87zWQQ"},
    {"no separator",
     "bYwvuGKIvtkTvYDe_XtQoxz3YqYV_Q0grlHs_GaW61ZFXybudqJOVhsrJLwv9qqm3AUAgFBKvdgLdR1suXoY"
     "jcbkloBBj1xj7So6fuYbkU5JWIVyUVWAd1iB6HgyIEHHCBt9D1MYEqDu7ijb10aUqyifF1eZ0PAwc5zZJG9U"
     "HI1nLwP0ho_acx2fzzSkgbpEqf4iGNRx8gUf6ERJx1uKBYk6XMIOGY8LjZCD2wDrguEBvVKmiITwEg-y4OHL"
     "OUdqbdWgATg8wN5LD1r3nXRdhyOAE00GZTkQvu1VeLGZ9_soL2946aDd80FjbCL6xDomHsDO57X0zkpFSkXZ"
     "hj6D7A"},
    {"a longer form of the length",
     "P_XABpHRrPjyODgfglCtSHMHnibmQGH6RZRAGqpe1yp6MTDuvpFCvL5kQM9K1lbVhnOiQewmlvyUjf1LVjP-"
     "IrQrXdCjTHVBWfdYQf9E38LlRvkMWUmLWnIiIw9uGZeRIpn2qp6k7HMx8vAbJMUKLgfsNDn1LWcwSuYuTLYR"
     "QSuc_cLt4eekYIN4s700sRPI01TnZd2ow8BPvhHVOuH8oCHpwY9ceDBgRO3-3knpOXy_Jud5Rkhth_FrMLyl"
     "SzWcu6G4uWlH0DRjkvZqW60gRSeZuTuSGm-PseEZ4Ey2N5-cky6_lnVl7v2YNMH0_bCStQgaAFV-rooZ2n17"
     "-IGnqg"},
    {"PSS", "DxCyNBG_BEXxErUjEf5Kt19gJRkyetJmTWhEQvMNAZgpAzVWj3t8i96Z8kkAdEzaTnDQdDIqk_j0Yfkdkocn"
            "MnRHafVzWdOXjrRBFDWYHDn8c1zl0bxqDL7DUzs10raaatJqpfFYtKg7Iq3OrAy7AUNwkg7tQyJGJ6UMNfvX"
            "zT07hdRroSJ8ravbwaI34B8fWCm8yXjx6k-ryuplFOWs8IDhFexq81TfunRB6vB600e4t--6dNky-8gsE17u"
            "mwkrOC2O0hdNdcL2DKGk1pa7oegD09R3DMFYT8HNG8MaS_nrKK9ytC2lJ3Y8wwzfCYNJxwq29aZ0qOyc1DfT"
            "tK1PLA"},
};

/* Of RSA blocks, made with the private key, only the one that PKCS #1 asks for is taken: no other
 * padding, no other way to write the digest's name, nothing behind it. */
START_TEST(signature_takes_one_padding)
{
    struct signature_key *key = maker_key(TOKEN_MAKER_RS256);

    for (size_t i = 0; i < sizeof(rsa_blocks) / sizeof(rsa_blocks[0]); i++) {
        ck_assert_msg(is_good(key, MESSAGE, rsa_blocks[i].signature) == (i == 0), "%s",
                      rsa_blocks[i].what);
    }
    signature_key_free(key);
}

END_TEST

/* A modulus of 4096 bits, the largest, and the smallest exponent; leading zeros change nothing. */
START_TEST(signature_takes_large_keys)
{
    static const char modulus[] =
        "yTo3_xDUAw92zxYe349J8P5UOJZjqrmaDG4gSoHCXhfpbj-wqsAJLhPElyJQCsVoMvRUQ04eItaTWxhiF6qm"
        "K62B63kdArnZYmvFatrJPc1QkdrDIJYo2y1MyxtRGUzM6M5K8hr77E19A_KYKnJ-ljOfrjVqYkBQpFKkIXMo"
        "GaCPDKVlGKsHEysF8rP8n3UoaB7_MvhZzYNW4WjFIcc9xhmfXeZOStVf037w21obNHu53Ls6-765MrRaoy-u"
        "ZGXFpGomydXZwvlmABtbtH0BAly40nQhzLknc9zzAkvm4njCZpO28u-jRyu1zZU3jypcnI2eMPinge8Gi-pK"
        "62NBXWnr7QYIWynxiTuY-q83ZCNfuEKabddw2D9qkqwwu-J56LoDGnBtiQVSf_owZ0P22V5a3pnVcpcaJ3Bd"
        "jb4p3DHwlpWyXAhBBDNcRKEh9jb2qjmrx9GtTMfnyqjtVpABaIXlaLAfVa2qK5SFGxpAjn2YxhPvqxmAzh7A"
        "snGdsAygRDcMYmTdo8IHlm0UGj-_Dg7gUKqiUy92UX_FSsDh3NHuI0txFyFjB1drEBnL62_WytQ7KytWKING"
        "n5AouL-vCC7d-891oo-Zuv_KD71XGrtyBmlhxCiPzPvwBIHnddY2mY77znBEsLAWtiCr9UIDgpp1BWpnw38-"
        "F5F55slAySU";
    static const char signature[] =
        "RP2tvgMpVuUV5BfL9Mbmsd4aaHu_alMt8fhJ55shnpD_Gew0TDaoDrmUqqDap3D5CwouRnd_RSz6cNp9rKqI"
        "3XiF_lJkZqDPlpDXZ_NRrMEoFng1CV3FoD_mQHOoavXIA7FXGMWbXbUg-5mniCS60mMmgAigixdCbdy1GqLr"
        "_SkouKRebVOOFEwnrb4ButqAB5qlEpGniWJRE-JjrB7G7Pq1_euGv85fuVNWFTGqBCgck99bjKlfDEtGZ0E7"
        "56bu_89sb8GGRG6V1AHcCn8JI1F7uJH5kqYbNqDM7asHyut2Puw15Wz12uauif7sseFPpOKEZSPaRVXx_U1_"
        "IUHSmGue_5AwUZOM1lBrhzBKnJ3mqFWTMFsW9LaDDz7DqLkvLC6Z0gYHKTtzl8ZAPu3Taz1sq3NozGNCZgzj"
        "pqx6KexDmUINu05GVrvso56Y6Sjcbi4_CjzgjIYUhDbSZCZgadBL3zZeTY-KUYFXvCgOIRGUThUodDgJBbd4"
        "alfRcHbGyM5zoPvSeTaNz4gsMxf6oajWr0Zn8nwLIw8Lr0x-fXa1iGdMqCoXHaEZ0Y01Iq83By32DcmAyCI0"
        "9MUXpOsXHmklBxvieWtfEbUwoHU8-uUk9FTpp8jpM6SVawmcG-Vcxe3awBk7dQJli3TCBmomHMO3OqKd8CS_"
        "3hQqg_FYl4k";
    struct number n = decode(modulus);
    uint8_t padded[SIGNATURE_SIZE_MAX + 2] = {0};
    struct signature_key *key = NULL;

    memcpy(padded + 2, n.data, SIGNATURE_SIZE_MAX);
    ck_assert_int_eq(signature_key_new_rsa((struct bytes){padded, sizeof(padded)},
                                           (struct bytes){(const uint8_t *)"\0\3", 2}, &key),
                     0);
    ck_assert(is_good(key, MESSAGE, signature));
    ck_assert(!is_good(key, BYTES_LITERAL("massage"), signature));
    signature_key_free(key);
    free(n.data);
}

END_TEST

/* RSA keys have 2048 to 4096 bits, to the bit, and an odd modulus and exponent. */
START_TEST(signature_refuses_bad_rsa_keys)
{
    static const char short_modulus[] =
        "wV1MbMqR6SAsxa2p4nezGXCC8i2lFdFtqt_o9GcLxEHtUY5GBHwshEct_paDQBm8EV_GBfkpljGqLpeJpLwD"
        "sxF9Cv0KfgWtD57jKCr5V5kxvLBewHZs3q4kSICfCAtH9Mc-mEevWIFUJavY3PRC_Fs_jU-RWygNprP4672t3OM";

    static const struct {
        const char *exponent;
        int result;
    } exponents[] = {
        {"AQAB", 0},
        {"Aw", 0},
        {"AQ", SIGNATURE_E_EXPONENT},
        {"Ag", SIGNATURE_E_EXPONENT},
        {"AA", SIGNATURE_E_EXPONENT},
        {"AQAA", SIGNATURE_E_EXPONENT},
        {"_____w", 0},
        {"AQAAAAE", SIGNATURE_E_EXPONENT},
        {"AAAAAAEAAQ", 0},
    };

    uint8_t modulus[SIGNATURE_SIZE_MAX + 1];
    struct bytes exponent = {(const uint8_t *)"\1\0\1", 3};
    struct signature_key *key = NULL;

    ck_assert_int_eq(new_rsa(short_modulus, "AQAB", &key), SIGNATURE_E_SIZE);
    for (size_t i = 0; i < sizeof(exponents) / sizeof(exponents[0]); i++) {
        ck_assert_msg(new_rsa(TOKEN_MAKER_RSA_N, exponents[i].exponent, &key) ==
                          exponents[i].result,
                      "%s", exponents[i].exponent);
        if (exponents[i].result == 0) {
            signature_key_free(key);
        }
    }
    memset(modulus, 0xff, sizeof(modulus));
    modulus[0] = 0x7f;
    ck_assert_int_eq(signature_key_new_rsa((struct bytes){modulus, 256}, exponent, &key),
                     SIGNATURE_E_SIZE);
    modulus[0] = 1;
    ck_assert_int_eq(signature_key_new_rsa((struct bytes){modulus, 513}, exponent, &key),
                     SIGNATURE_E_SIZE);
    ck_assert_int_eq(signature_key_new_rsa((struct bytes){0}, exponent, &key), SIGNATURE_E_SIZE);
    modulus[255] = 0xfe;
    modulus[0] = 0x80;
    ck_assert_int_eq(signature_key_new_rsa((struct bytes){modulus, 256}, exponent, &key),
                     SIGNATURE_E_NUMBER);
}

END_TEST

/* A P-256 key is a point of the curve, in two times 32 bytes, and not that at infinity. */
START_TEST(signature_refuses_points_off_the_curve)
{
    static const char zero[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    static const char the_prime[] = "_____wAAAAEAAAAAAAAAAAAAAAD_______________8";
    struct signature_key *key = NULL;

    ck_assert_int_eq(new_p256(TOKEN_MAKER_P256_X, TOKEN_MAKER_P256_X, &key), SIGNATURE_E_NUMBER);
    ck_assert_int_eq(new_p256(zero, zero, &key), SIGNATURE_E_NUMBER);
    ck_assert_int_eq(new_p256(the_prime, TOKEN_MAKER_P256_Y, &key), SIGNATURE_E_NUMBER);
    ck_assert_int_eq(new_p256("AQAB", TOKEN_MAKER_P256_Y, &key), SIGNATURE_E_SIZE);
    ck_assert_int_eq(new_p256(TOKEN_MAKER_P256_X, "AAAA" TOKEN_MAKER_P256_Y, &key),
                     SIGNATURE_E_SIZE);
}

END_TEST

/* ECDSA: r and s are from 1 to n - 1; neither DER nor one with r and s exchanged is good. */
START_TEST(signature_refuses_r_and_s_out_of_range)
{
    static const uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
                                      0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
    static const char der[] = "MEUCIQCL49bSw2xPpuMmv4iZ6UZshjcpzEXOaa7PacJ2D5qoTwIgU0Hs-Tncz_"
                              "GqkvpVZZY9URNnNMThCC0UiMRNzxx9P_4";
    static const char same_raw[] =
        "i-PW0sNsT6bjJr-ImelGbIY3KcxFzmmuz2nCdg-aqE9TQez5OdzP8aqS-lVllj1RE2c0xOEILRSIxE3PHH0__g";
    struct signature_key *key = maker_key(TOKEN_MAKER_ES256);
    uint8_t good[TOKEN_MAKER_SIGNATURE_MAX];
    uint8_t bad[64];

    ck_assert(is_good(key, MESSAGE, same_raw));
    ck_assert(!is_good(key, MESSAGE, der));
    ck_assert_uint_eq(token_maker_sign(TOKEN_MAKER_ES256, MESSAGE, good), 64);
    for (size_t half = 0; half < 64; half += 32) {
        memcpy(bad, good, 64);
        memset(bad + half, 0, 32);
        ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){bad, 64}));
        memcpy(bad + half, order, 32);
        ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){bad, 64}));
        memset(bad + half, 0xff, 32);
        ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){bad, 64}));
    }
    memset(bad, 0, 64);
    ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){bad, 64}));
    memcpy(bad, good + 32, 32);
    memcpy(bad + 32, good, 32);
    ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){bad, 64}));
    signature_key_free(key);
}

END_TEST

/* Ed25519 keys of small order, which would have every message signed, and other bytes that are no
 * point of the large group, are refused. */
START_TEST(signature_refuses_small_points)
{
    static const char *const points[] = {
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* of order 4 */
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* neutral */
        "7P_______________________________________38", /* of order 2 */
        "7f_______________________________________38", /* 0, not canonical */
        "7v_______________________________________38", /* 1, not canonical */
        "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o", /* of order 8 */
        "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", /* of order 8 */
        "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* no point */
    };
    struct signature_key *key = NULL;

    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        ck_assert_msg(new_ed25519(points[i], &key) == SIGNATURE_E_NUMBER, "%s", points[i]);
    }
    ck_assert_int_eq(new_ed25519("AQAB", &key), SIGNATURE_E_SIZE);
}

END_TEST

/* An Ed25519 signature has one spelling: S plus the order of the group is refused. */
START_TEST(signature_refuses_a_second_spelling_of_s)
{
    static const uint8_t order[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                      0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                      0,    0,    0,    0,    0,    0,    0,    0,
                                      0,    0,    0,    0,    0,    0,    0,    0x10};
    struct signature_key *key = maker_key(TOKEN_MAKER_EDDSA);
    uint8_t signature[TOKEN_MAKER_SIGNATURE_MAX];
    unsigned carry = 0;

    ck_assert_uint_eq(token_maker_sign(TOKEN_MAKER_EDDSA, MESSAGE, signature), 64);
    ck_assert(signature_is_good(key, MESSAGE, (struct bytes){signature, 64}));
    for (size_t i = 0; i < sizeof(order); i++) {
        carry += signature[32 + i] + (unsigned)order[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    ck_assert(!signature_is_good(key, MESSAGE, (struct bytes){signature, 64}));
    signature_key_free(key);
}

END_TEST

/* HMAC-SHA256 as in RFC 4231, test case 2; whole or not at all; never with an empty secret. */
START_TEST(signature_compares_macs)
{
    static const char mac_text[] = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM";
    struct number mac = decode(mac_text);
    struct bytes secret = BYTES_LITERAL("Jefe");
    struct bytes message = BYTES_LITERAL("what do ya want for nothing?");

    ck_assert_uint_eq(mac.size, 32);
    ck_assert(signature_hmac_is_good(secret, message, bytes_of(mac)));
    ck_assert(!signature_hmac_is_good((struct bytes){0}, message, bytes_of(mac)));
    ck_assert(!signature_hmac_is_good(secret, MESSAGE, bytes_of(mac)));
    ck_assert(!signature_hmac_is_good(secret, message, (struct bytes){mac.data, 31}));
    ck_assert(!signature_hmac_is_good(secret, message, (struct bytes){0}));
    for (size_t bit = 0; bit < 256; bit++) {
        mac.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert(!signature_hmac_is_good(secret, message, bytes_of(mac)));
        mac.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(mac.data);
}

END_TEST

UNIT_MAIN("signature", signature_agrees_with_rfc_7515_rs256, signature_agrees_with_rfc_7515_es256,
          signature_agrees_with_rfc_8037, signature_judges_each_kind,
          signature_refuses_every_turned_bit, signature_has_one_length, signature_takes_one_padding,
          signature_takes_large_keys, signature_refuses_bad_rsa_keys,
          signature_refuses_points_off_the_curve, signature_refuses_r_and_s_out_of_range,
          signature_refuses_small_points, signature_refuses_a_second_spelling_of_s,
          signature_compares_macs)
