/*
 * Certificates for tests, made with the openssl command in a folder of their own. Call certs_make()
 * in main() before the tests run and certs_remove() after: making them takes a moment, and each
 * test runs in a process of its own.
 *
 * Owns:    the folder.
 * Thread:  one.
 */

#ifndef TESTS_LIB_CERTS_H
#define TESTS_LIB_CERTS_H

#define CERTS_PATH_SIZE 64

/* All keys are EC P-256. */
struct certs {
    char folder[CERTS_PATH_SIZE];
    char ca[CERTS_PATH_SIZE];         /* signed `cert` */
    char cert[CERTS_PATH_SIZE];       /* for localhost, *.wild.test, 127.0.0.1 and ::1 */
    char key[CERTS_PATH_SIZE];        /* of `cert` */
    char other_ca[CERTS_PATH_SIZE];   /* signed nothing here */
    char other_key[CERTS_PATH_SIZE];  /* belongs to no certificate here but `other_ca` */
    char locked_key[CERTS_PATH_SIZE]; /* `key`, encrypted */
    char broken[CERTS_PATH_SIZE];     /* no PEM at all */
};

/* Ends the program when it cannot. */
void certs_make(struct certs *certs);

/* Makes the certificates of tests/lib/client_certs.sh, too; see there for their names. */
void certs_make_clients(const struct certs *certs);

/* Where one of them stands, by the name of its file. `path` has CERTS_PATH_SIZE bytes. */
const char *certs_client(const struct certs *certs, const char *name, char *path);

void certs_remove(const struct certs *certs);

#endif
