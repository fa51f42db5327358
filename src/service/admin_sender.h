/*
 * Who may ask the admin port: its own machines and people, and no web page of another site.
 *
 * There are no passwords there, because the port is for who can reach it. A web page in a browser
 * on such a machine can reach it too, though it must not:
 *
 *   - A page of another site may send a POST without asking. The browser says where it comes from,
 *     in Origin and Sec-Fetch-Site, and then it is refused. The answer to a GET such a page does
 * not get to see.
 *   - A page may have its own name point to our address (DNS rebinding), and is then our own site
 *     for the browser; but Host has its name. Names are therefore refused, but for localhost and
 *     the one in admin.listen, where a browser is likely: on loopback addresses, and anywhere for
 *     what changes something or is private. A GET of a monitor that knows a server in the network
 * by name passes.
 *
 * Owns:    copies in the struct.
 * Borrows: the request, for a call.
 * Thread:  loop only.
 */
#ifndef SERVICE_ADMIN_SENDER_H
#define SERVICE_ADMIN_SENDER_H

#include <netdb.h>
#include <stdbool.h>

struct http_admin_request;

struct admin_sender {
    char host[NI_MAXHOST]; /* of admin.listen; "" = it has none */
    bool is_unix;
    bool is_loopback;
};

/* `listen` as in the configuration, `bound` as http_admin_address() tells it. */
void admin_sender_init(struct admin_sender *sender, const char *listen, const char *bound);

/* Why a request is not to be answered, a constant; NULL when it is. `is_private`: what it reads is
 * not for everybody who reads counts. */
const char *admin_sender_objection(const struct admin_sender *sender,
                                   const struct http_admin_request *request, bool is_private);

#endif
