#include "grpc_cpp_users.hh"

#include <array>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <random>
#include <string_view>

namespace
{

using users::v1::User;

constexpr int64_t FIRST_CREATED_MS = 1700000000000;
constexpr size_t GOOD_MAX = 10000; // tokens remembered

template <typename... Values> std::string format(const char *pattern, Values... values)
{
    std::array<char, 128> text;
    int size = std::snprintf(text.data(), text.size(), pattern, values...);
    return std::string(text.data(), static_cast<size_t>(size));
}

// As bench/userbench_data.c makes it.
std::unique_ptr<User> make_user(uint64_t index)
{
    auto number = static_cast<unsigned long long>(index);
    auto user = std::make_unique<User>();
    user->set_id(
        format("%08x-0000-4000-8000-%012llx", static_cast<uint32_t>(index) * 2654435761U, number));
    user->set_username(format("user.number%07llu", number));
    user->set_email(user->username() + "@example.com");
    user->set_created_at(FIRST_CREATED_MS + static_cast<int64_t>(index));
    user->add_roles("member");
    user->set_status(users::v1::USER_STATUS_ACTIVE);
    User::Profile *profile = user->mutable_profile();
    profile->set_first_name(format("First%llu", number % 1000));
    profile->set_last_name(format("Last%llu", number / 1000));
    profile->set_avatar_url(format("https://cdn.example.com/avatars/%07llu", number));
    user->set_updated_at(user->created_at());
    user->set_etag(format("\"%llx\"", number + 1));
    return user;
}

std::string make_id()
{
    thread_local std::mt19937_64 random{std::random_device{}()};
    uint64_t high = random();
    uint64_t low = random();
    return format("%08x-%04x-4%03x-%04x-%012llx", static_cast<uint32_t>(high >> 32),
                  static_cast<uint32_t>(high >> 16 & 0xFFFF), static_cast<uint32_t>(high & 0xFFF),
                  static_cast<uint32_t>((low >> 48 & 0x3FFF) | 0x8000),
                  static_cast<unsigned long long>(low & 0xFFFFFFFFFFFF));
}

std::string lower(std::string text)
{
    for (char &c : text)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
}

int64_t now_ms()
{
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// Empty when it is no base64url.
std::string from_base64url(std::string_view text)
{
    static const std::string_view digits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    std::string bytes;
    uint32_t bits = 0;
    int count = 0;
    for (char c : text) {
        size_t digit = digits.find(c);
        if (digit == std::string_view::npos)
            return "";
        bits = bits << 6 | static_cast<uint32_t>(digit);
        count += 6;
        if (count >= 8) {
            count -= 8;
            bytes.push_back(static_cast<char>(bits >> count & 0xFF));
        }
    }
    return bytes;
}

} // namespace

void UserMap::preload(uint64_t count)
{
    by_id.reserve(count);
    by_username.reserve(count);
    by_email.reserve(count);
    for (uint64_t i = 0; i < count; i++)
        add(make_user(i));
    changes = count;
}

User *UserMap::add(std::unique_ptr<User> user)
{
    User *added = user.get();
    by_username.emplace(lower(added->username()), added);
    by_email.emplace(lower(added->email()), added);
    by_id.emplace(added->id(), std::move(user));
    return added;
}

User *UserMap::find(const std::string &id)
{
    std::shared_lock<std::shared_mutex> guard(lock);
    auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second.get();
}

const User *UserMap::create(const std::string &username, const std::string &email)
{
    auto user = std::make_unique<User>();
    user->set_id(make_id());
    user->set_username(username);
    user->set_email(email);
    user->set_status(users::v1::USER_STATUS_ACTIVE);
    user->set_created_at(now_ms());
    user->set_updated_at(user->created_at());
    std::lock_guard<std::shared_mutex> guard(lock);
    if (by_username.count(lower(username)) != 0 || by_email.count(lower(email)) != 0)
        return nullptr;
    user->set_etag(format("\"%llx\"", static_cast<unsigned long long>(++changes)));
    return add(std::move(user));
}

bool TokenCheck::accepts(std::string_view field)
{
    // The token of the call before is most often this one's too.
    thread_local std::string last;
    thread_local int64_t last_expires_at = 0;
    int64_t now = std::time(nullptr);
    if (field == last)
        return now < last_expires_at;
    std::string key(field);
    int64_t expires_at = 0;
    {
        std::shared_lock<std::shared_mutex> guard(lock);
        auto found = good.find(key);
        expires_at = found == good.end() ? 0 : found->second;
    }
    if (expires_at == 0) {
        if (!verify(field, &expires_at))
            return false;
        std::lock_guard<std::shared_mutex> guard(lock);
        if (good.size() >= GOOD_MAX)
            good.clear();
        good.emplace(key, expires_at);
    }
    last = std::move(key);
    last_expires_at = expires_at;
    return now < expires_at;
}

bool TokenCheck::verify(std::string_view field, int64_t *expires_at) const
{
    static const std::string_view scheme = "Bearer ";
    if (field.substr(0, scheme.size()) != scheme)
        return false;
    std::string_view token = field.substr(scheme.size());
    size_t second = token.rfind('.');
    size_t first = token.find('.');
    if (second == std::string_view::npos || first == second ||
        from_base64url(token.substr(0, first)).find("\"HS256\"") == std::string::npos)
        return false;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned size = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char *>(token.data()), second, digest.data(), &size);
    std::string signature = from_base64url(token.substr(second + 1));
    if (signature.size() != size || CRYPTO_memcmp(signature.data(), digest.data(), size) != 0)
        return false;
    std::string claims = from_base64url(token.substr(first + 1, second - first - 1));
    size_t at = claims.find("\"exp\":");
    if (at == std::string::npos)
        return false;
    *expires_at = std::strtoll(claims.c_str() + at + std::strlen("\"exp\":"), nullptr, 10);
    return true;
}
