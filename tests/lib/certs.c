#include "lib/certs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char script[] =
    "set -e; exec 2>openssl.log\n"
    "key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1; }\n"
    "ca() { openssl req -x509 -new -key $1.key -sha256 -days 30 -subj /CN=$1 -out $1.pem; }\n"
    "key ca.key; ca ca; key other.key; ca other; key server.key\n"
    "echo 'subjectAltName = DNS:localhost,DNS:*.wild.test,IP:127.0.0.1,IP:::1' >ext\n"
    "openssl req -new -key server.key -subj /CN=server -out request\n"
    "openssl x509 -req -sha256 -days 30 -in request -CA ca.pem -CAkey ca.key -set_serial 1"
    " -extfile ext -out server.pem\n"
    "openssl pkey -in server.key -aes256 -passout pass:secret -out locked.key\n"
    "echo 'no certificate' >broken.pem\n";

static void run(const char *folder, const char *what)
{
    char command[2048];

    (void)snprintf(command, sizeof(command), "cd '%s' && {\n%s}", folder, what);
    if (system(command) != 0) {
        (void)fprintf(stderr, "certs: the openssl command failed, see %s/openssl.log\n", folder);
        abort();
    }
}

static void set_path(char *path, const char *folder, const char *name)
{
    (void)snprintf(path, CERTS_PATH_SIZE, "%.40s/%s", folder, name);
}

void certs_make(struct certs *certs)
{
    (void)snprintf(certs->folder, sizeof(certs->folder), "/tmp/userd-certs-XXXXXX");
    if (mkdtemp(certs->folder) == NULL) {
        perror("certs: mkdtemp");
        abort();
    }
    run(certs->folder, script);
    set_path(certs->ca, certs->folder, "ca.pem");
    set_path(certs->cert, certs->folder, "server.pem");
    set_path(certs->key, certs->folder, "server.key");
    set_path(certs->other_ca, certs->folder, "other.pem");
    set_path(certs->other_key, certs->folder, "other.key");
    set_path(certs->locked_key, certs->folder, "locked.key");
    set_path(certs->broken, certs->folder, "broken.pem");
}

void certs_make_clients(const struct certs *certs)
{
    char command[256];

    (void)snprintf(command, sizeof(command),
                   "mkdir '%s/clients' && tests/lib/client_certs.sh '%s/clients'", certs->folder,
                   certs->folder);
    if (system(command) != 0) {
        (void)fprintf(stderr,
                      "certs: failed (run it from the root of the repository), see %s/clients\n",
                      certs->folder);
        abort();
    }
}

const char *certs_client(const struct certs *certs, const char *name, char *path)
{
    (void)snprintf(path, CERTS_PATH_SIZE, "%.30s/clients/%.24s", certs->folder, name);
    return path;
}

void certs_remove(const struct certs *certs)
{
    run(certs->folder, "rm -rf clients\n"
                       "rm -f ca.* other.* server.* locked.key broken.pem ext request openssl.log\n"
                       "cd / && rmdir \"$OLDPWD\"\n");
}
