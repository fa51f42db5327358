// The foreign server of README.md on libgrpc++, by its callback interface.
#include "grpc/health/v1/health.grpc.pb.h"
#include "users/v1/users.grpc.pb.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <grpcpp/grpcpp.h>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace
{

using grpc::CallbackServerContext;
using grpc::Status;
using grpc::StatusCode;
using users::v1::User;

// What the lines of the input change and ask for.
struct State {
    std::string details;
    std::atomic<bool> is_unavailable{false};
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> cancelled{0};
    std::mutex lock; // of what follows
    std::map<std::string, int> flaky;
};

Status failure(const State &state, StatusCode code, const std::string &text)
{
    return Status(code, text, state.details);
}

std::vector<std::string> parts_of(const std::string &text)
{
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ':');)
        parts.push_back(part);
    parts.resize(std::max<size_t>(parts.size(), 3));
    return parts;
}

int number_of(const std::string &text)
{
    int number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

void fill(User *user, const std::string &id, const std::string &username, int size = 0)
{
    user->set_id(id);
    user->set_username(username);
    user->set_email(username + "@example.com");
    user->set_status(users::v1::USER_STATUS_ACTIVE);
    if (size > 0)
        user->mutable_profile()->set_avatar_url(std::string(static_cast<size_t>(size), 'x'));
}

std::string field_of(const grpc::CallbackServerContext &context, const std::string &name)
{
    auto found = context.client_metadata().find(name);
    return found == context.client_metadata().end()
               ? std::string()
               : std::string(found->second.data(), found->second.size());
}

void create(const users::v1::CreateUserRequest &request, users::v1::CreateUserResponse *reply)
{
    fill(reply->mutable_user(), "id-" + request.username(), request.username());
    reply->mutable_user()->set_email(request.email());
}

// A call that is answered when the client gives up.
class Slow : public grpc::ServerUnaryReactor
{
  public:
    explicit Slow(State &state) : state(state)
    {
    }

    void OnCancel() override
    {
        state.cancelled++;
        Finish(Status::CANCELLED);
    }

    void OnDone() override
    {
        delete this;
    }

  private:
    State &state;
};

class Watch : public grpc::ServerWriteReactor<User>
{
  public:
    Watch(State &state, const std::string &id) : state(state), id(id), parts(parts_of(id))
    {
        if (state.is_unavailable) {
            Finish(failure(state, StatusCode::UNAVAILABLE, "told to be unavailable"));
        } else if (id == "missing") {
            Finish(failure(state, StatusCode::NOT_FOUND, "User missing not found"));
        } else if (parts[0] == "states") {
            left = number_of(parts[1]);
            next();
        } else {
            fill(&user, id, id);
            StartWrite(&user);
        }
    }

    void OnWriteDone(bool ok) override
    {
        if (parts[0] != "states")
            return;
        if (ok)
            next();
        else
            Finish(Status::CANCELLED);
    }

    void OnCancel() override
    {
        state.cancelled++;
        if (parts[0] != "states")
            Finish(Status::CANCELLED);
    }

    void OnDone() override
    {
        delete this;
    }

  private:
    void next()
    {
        if (left == 0) {
            Finish(Status::OK);
            return;
        }
        int number = number_of(parts[1]) - left--;
        user.Clear();
        fill(&user, id, "state" + std::to_string(number), number_of(parts[2]));
        StartWrite(&user);
    }

    State &state;
    const std::string id;
    const std::vector<std::string> parts;
    int left = 0;
    User user;
};

class Batch
    : public grpc::ServerBidiReactor<users::v1::CreateUserRequest, users::v1::CreateUserResponse>
{
  public:
    Batch(State &state, bool goes_on) : state(state), goes_on(goes_on)
    {
        if (state.is_unavailable)
            Finish(failure(state, StatusCode::UNAVAILABLE, "told to be unavailable"));
        else
            StartRead(&request);
    }

    void OnReadDone(bool ok) override
    {
        if (!ok) {
            Finish(Status::OK);
            return;
        }
        reply.Clear();
        if (request.username() != "taken") {
            create(request, &reply);
        } else if (goes_on) {
            reply.mutable_error()->set_code(StatusCode::ALREADY_EXISTS);
            reply.mutable_error()->set_message("User already exists");
        } else {
            Finish(failure(state, StatusCode::ALREADY_EXISTS, "User already exists"));
            return;
        }
        StartWrite(&reply);
    }

    void OnWriteDone(bool ok) override
    {
        if (ok)
            StartRead(&request);
        else
            Finish(Status::CANCELLED);
    }

    void OnCancel() override
    {
        state.cancelled++;
    }

    void OnDone() override
    {
        delete this;
    }

  private:
    State &state;
    const bool goes_on;
    users::v1::CreateUserRequest request;
    users::v1::CreateUserResponse reply;
};

class Users final : public users::v1::UserService::CallbackService
{
  public:
    explicit Users(State &state) : state(state)
    {
    }

    grpc::ServerUnaryReactor *GetUser(CallbackServerContext *context,
                                      const users::v1::GetUserRequest *request,
                                      users::v1::GetUserResponse *reply) override
    {
        state.calls++;
        if (!state.is_unavailable && request->id() == "slow")
            return new Slow(state);
        auto *reactor = context->DefaultReactor();
        reactor->Finish(get(*context, request->id(), reply));
        return reactor;
    }

    grpc::ServerUnaryReactor *CreateUser(CallbackServerContext *context,
                                         const users::v1::CreateUserRequest *request,
                                         users::v1::CreateUserResponse *reply) override
    {
        state.calls++;
        Status status;
        if (state.is_unavailable)
            status = failure(state, StatusCode::UNAVAILABLE, "told to be unavailable");
        else if (request->username() == "taken")
            status = failure(state, StatusCode::ALREADY_EXISTS, "User already exists");
        else
            create(*request, reply);
        auto *reactor = context->DefaultReactor();
        reactor->Finish(status);
        return reactor;
    }

    grpc::ServerWriteReactor<User> *WatchUser(CallbackServerContext * /* context */,
                                              const users::v1::GetUserRequest *request) override
    {
        state.calls++;
        return new Watch(state, request->id());
    }

    grpc::ServerBidiReactor<users::v1::CreateUserRequest, users::v1::CreateUserResponse> *
    BatchCreateUsers(CallbackServerContext *context) override
    {
        state.calls++;
        return new Batch(state, field_of(*context, "users-continue-on-error") == "true");
    }

  private:
    Status get(const CallbackServerContext &context, const std::string &id,
               users::v1::GetUserResponse *reply)
    {
        if (state.is_unavailable)
            return failure(state, StatusCode::UNAVAILABLE, "told to be unavailable");
        // The common case first: measurements call it.
        if (id.find(':') == std::string::npos && id != "missing") {
            fill(reply->mutable_user(), id, id);
            return Status::OK;
        }
        if (id == "missing")
            return failure(state, StatusCode::NOT_FOUND, "User missing not found");
        auto parts = parts_of(id);
        if (parts[0] == "flaky") {
            std::lock_guard<std::mutex> guard(state.lock);
            int count = ++state.flaky[parts[2]];
            if (count <= number_of(parts[1]))
                return failure(state, StatusCode::UNAVAILABLE,
                               "failure " + std::to_string(count) + " of " + parts[1]);
        }
        std::string username = parts[0] == "field" ? field_of(context, parts[1]) : id;
        fill(reply->mutable_user(), id, username, parts[0] == "size" ? number_of(parts[1]) : 0);
        return Status::OK;
    }

    State &state;
};

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class Health final : public grpc::health::v1::Health::CallbackService
{
  public:
    class Watcher : public grpc::ServerWriteReactor<HealthCheckResponse>
    {
      public:
        explicit Watcher(Health &health) : health(health)
        {
            std::lock_guard<std::mutex> guard(health.lock);
            health.watchers.insert(this);
            tell();
        }

        // With the lock held: one write at a time; the last word is told when there is time.
        void tell()
        {
            if (is_over || is_writing || told == health.status())
                return;
            told = health.status();
            reply.set_status(told);
            is_writing = true;
            StartWrite(&reply);
        }

        void finish()
        {
            if (!is_over) {
                is_over = true;
                Finish(Status::CANCELLED);
            }
        }

        void OnWriteDone(bool ok) override
        {
            std::lock_guard<std::mutex> guard(health.lock);
            is_writing = false;
            if (ok)
                tell();
            else
                finish();
        }

        void OnCancel() override
        {
            std::lock_guard<std::mutex> guard(health.lock);
            finish();
        }

        void OnDone() override
        {
            {
                std::lock_guard<std::mutex> guard(health.lock);
                health.watchers.erase(this);
            }
            delete this;
        }

      private:
        Health &health;
        HealthCheckResponse reply;
        HealthCheckResponse::ServingStatus told = HealthCheckResponse::UNKNOWN;
        bool is_writing = false;
        bool is_over = false;
    };

    grpc::ServerUnaryReactor *Check(CallbackServerContext *context, const HealthCheckRequest *,
                                    HealthCheckResponse *reply) override
    {
        std::lock_guard<std::mutex> guard(lock);
        reply->set_status(status());
        auto *reactor = context->DefaultReactor();
        reactor->Finish(Status::OK);
        return reactor;
    }

    grpc::ServerWriteReactor<HealthCheckResponse> *Watch(CallbackServerContext *,
                                                         const HealthCheckRequest *) override
    {
        return new Watcher(*this);
    }

    void set_serving(bool value)
    {
        std::lock_guard<std::mutex> guard(lock);
        is_serving = value;
        for (auto *watcher : watchers)
            watcher->tell();
    }

    void end_watches()
    {
        std::lock_guard<std::mutex> guard(lock);
        for (auto *watcher : watchers)
            watcher->finish();
    }

  private:
    HealthCheckResponse::ServingStatus status() const
    {
        return is_serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
    }

    std::mutex lock;
    bool is_serving = true;
    std::set<Watcher *> watchers;
};

std::string slurp(const std::string &path)
{
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::shared_ptr<grpc::ServerCredentials>
make_credentials(std::map<std::string, std::string> &options)
{
    if (options["cert"].empty())
        return grpc::InsecureServerCredentials();
    grpc::SslServerCredentialsOptions tls(
        options["client-ca"].empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                     : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_key_cert_pairs.push_back({slurp(options["key"]), slurp(options["cert"])});
    if (!options["client-ca"].empty())
        tls.pem_root_certs = slurp(options["client-ca"]);
    return grpc::SslServerCredentials(tls);
}

std::string from_hex(const std::string &digits)
{
    std::string bytes;
    for (size_t at = 0; at + 1 < digits.size(); at += 2)
        bytes.push_back(static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16)));
    return bytes;
}

// Until `stop`, which is told by true, or the end of the input.
bool obey(State &state, Health &health)
{
    for (std::string line; std::getline(std::cin, line);) {
        if (line == "stop")
            return true;
        std::string answer = "ok";
        if (line.rfind("unavailable ", 0) == 0)
            state.is_unavailable = line == "unavailable on";
        else if (line.rfind("serving ", 0) == 0)
            health.set_serving(line == "serving on");
        else if (line == "calls")
            answer = "calls " + std::to_string(state.calls);
        else if (line == "cancelled")
            answer = "cancelled " + std::to_string(state.cancelled);
        else
            answer = "unknown command " + line;
        std::cout << answer << std::endl;
    }
    return false;
}

} // namespace

int main(int argc, char **argv)
{
    std::map<std::string, std::string> options;
    for (int i = 1; i + 1 < argc; i += 2)
        options[std::string(argv[i]).substr(2)] = argv[i + 1];
    if (options["listen"].empty()) {
        std::cerr
            << "usage: peer-cpp --listen HOST:PORT [--cert FILE --key FILE [--client-ca FILE]]"
               " [--details HEX]\n";
        return 64;
    }
    State state;
    state.details = from_hex(options["details"]);
    Users users(state);
    Health health;
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(64 << 20);
    builder.SetMaxSendMessageSize(64 << 20);
    builder.AddListeningPort(options["listen"], make_credentials(options), &port);
    builder.RegisterService(&users);
    builder.RegisterService(&health);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server || port == 0) {
        std::cerr << options["listen"] << " cannot be bound\n";
        return 69;
    }
    std::cout << "listening " << options["listen"].substr(0, options["listen"].rfind(':')) << ":"
              << port << std::endl;
    if (!obey(state, health))
        std::_Exit(1); // whoever started it is gone
    health.end_watches();
    server->Shutdown();
    return 0;
}
