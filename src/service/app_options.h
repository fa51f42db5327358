/*
 * From the configuration to what each module asks for. Pure.
 *
 * Owns:    nothing.
 * Borrows: the texts of the configuration.
 * Thread:  any.
 */
#ifndef SERVICE_APP_OPTIONS_H
#define SERVICE_APP_OPTIONS_H

#include "core/tls.h"
#include "core/wal.h"
#include "http2/grpc_server.h"
#include "service/access.h"
#include "service/admin.h"
#include "service/auth.h"
#include "service/config.h"
#include "service/health.h"
#include "service/health_port.h"
#include "service/overload.h"
#include "service/rate_limit.h"
#include "service/reflection.h"
#include "service/token.h"
#include "service/user_service.h"

struct tls_server_options app_options_tls(const struct config *config);
struct token_options app_options_token(const struct config *config);
struct rate_limit_options app_options_rate(const struct config *config);
struct access_options app_options_access(const struct config *config);
struct overload_options app_options_overload(const struct config *config);
struct wal_options app_options_wal(const struct config *config);
struct user_service_options app_options_users(const struct config *config);
struct health_options app_options_health(const struct config *config);
struct reflection_options app_options_reflection(const struct config *config); /* no descriptors */
struct grpc_server_options app_options_server(const struct config *config);
struct grpc_server_options app_options_health_port(const struct config *config);

/* Sets the options, and nothing else. */
void app_options_auth(const struct config *config, struct auth *auth);

/* Without health and callbacks; `listen` "" = none is wanted. */
struct admin_options app_options_admin(const struct config *config);

/* password.workers, or as many as there are processors for us (control_group_threads()), up to 4.
 */
unsigned app_options_workers(const struct config *config);

#endif
