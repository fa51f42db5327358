/*
 * The random source of our wolfSSL (see wolfssl_random.c). scripts/deps.sh includes this header
 * ahead of every file of the library, which has some in assembler.
 */

#ifndef SCRIPTS_WOLFSSL_RANDOM_H
#define SCRIPTS_WOLFSSL_RANDOM_H

#ifndef __ASSEMBLER__
int wolfssl_random_block(unsigned char *output, unsigned int size);
#endif

#endif
