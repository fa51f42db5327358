/*
 * PEM: base64 between BEGIN and END lines, several blocks in one file, text between them ignored.
 *
 * Owns:    nothing; the caller frees what was decoded.
 * Borrows: the text.
 * Thread:  any.
 */
#ifndef CORE_TLS_PEM_H
#define CORE_TLS_PEM_H

#include "core/bytes.h"

#include <stdint.h>

#define TLS_PEM_E_END 1 /* no further block of this kind */

/* Decodes the next block of the kind `label` ("CERTIFICATE", "X509 CRL") and moves `text` behind
 * it. Returns 0 with fresh memory, TLS_PEM_E_END, -EBADMSG (a block without end or with bytes that
 * are no base64) or -ENOMEM. */
int tls_pem_next(struct bytes *text, const char *label, uint8_t **ret_der, size_t *ret_size);

#endif
