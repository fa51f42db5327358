// The users in memory and the check of tokens, for grpc_cpp.cc. All of it may be used by several
// threads at once.
#ifndef BENCH_GRPC_CPP_USERS_H
#define BENCH_GRPC_CPP_USERS_H

#include "users/v1/users.pb.h"

#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

class UserMap
{
  public:
    // Makes the users 0 to count - 1 of bench/userbench_data.c. Before anything else.
    void preload(uint64_t count);

    // Null when there is none. The user lives as long as the map, and is never changed.
    users::v1::User *find(const std::string &id);

    // Null when the name or the address is taken, upper and lower case being equal.
    const users::v1::User *create(const std::string &username, const std::string &email);

  private:
    users::v1::User *add(std::unique_ptr<users::v1::User> user);

    std::shared_mutex lock;
    std::unordered_map<std::string, std::unique_ptr<users::v1::User>> by_id;
    std::unordered_map<std::string, users::v1::User *> by_username;
    std::unordered_map<std::string, users::v1::User *> by_email;
    uint64_t changes = 0; // the last one's number is what an etag says
};

// Bearer tokens of HS256. A token that was found good is found so again by its text alone, until it
// expires.
class TokenCheck
{
  public:
    void set_secret(const std::string &value)
    {
        secret = value;
    }

    // `field` is the whole `authorization` field.
    bool accepts(std::string_view field);

  private:
    bool verify(std::string_view field, int64_t *expires_at) const;

    std::string secret;
    std::shared_mutex lock;
    std::unordered_map<std::string, int64_t> good; // -> when it expires, s
};

#endif
