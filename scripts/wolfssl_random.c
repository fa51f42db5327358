/*
 * Randomness for our wolfSSL, straight from the kernel. scripts/deps.sh adds this object to the
 * static library, which calls it by the name given in CUSTOM_RAND_GENERATE_BLOCK.
 *
 * Without it every connection owns a generator of its own, which opens /dev/urandom for its seed
 * and tests itself: time, memory, and a handshake that fails when no descriptor is left.
 *
 * Thread: any.
 */

#include "wolfssl_random.h"

#include <errno.h>
#include <sys/random.h>

/* Fills the whole block or fails: 0, or -1, upon which wolfSSL ends the handshake. */
int wolfssl_random_block(unsigned char *output, unsigned int size)
{
    unsigned int done = 0;

    while (done < size) {
        ssize_t count = getrandom(output + done, size - done, 0);

        if (count > 0) {
            done += (unsigned int)count;
        } else if (count == 0 || errno != EINTR) {
            return -1;
        }
    }
    return 0;
}
