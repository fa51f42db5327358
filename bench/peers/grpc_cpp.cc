// users.v1.UserService, GetUser and CreateUser, on Debian's libgrpc++: one of the servers of
// README.md.
#include "grpc_cpp_users.hh"
#include "users/v1/users.grpc.pb.h"

#include <google/protobuf/stubs/common.h>

#include <fstream>
#include <grpcpp/grpcpp.h>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <openssl/crypto.h>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace
{

using grpc::Status;
using grpc::StatusCode;
using users::v1::CreateUserRequest;
using users::v1::CreateUserResponse;
using users::v1::GetUserRequest;
using users::v1::GetUserResponse;
using users::v1::User;

// So many calls of each method are asked for ahead of their coming. With some more or with
// thousands a call takes longer, since less of their memory is in the caches.
constexpr int SLOTS = 64;

// What a handler needs, of either interface.
struct Backend {
    UserMap users;
    TokenCheck tokens;

    Status authorize(const std::multimap<grpc::string_ref, grpc::string_ref> &metadata)
    {
        auto found = metadata.find("authorization");
        if (found == metadata.end() ||
            !tokens.accepts(std::string_view(found->second.data(), found->second.size())))
            return Status(StatusCode::UNAUTHENTICATED, "a valid bearer token is needed");
        return Status::OK;
    }

    // The reply borrows the stored user, which is never changed: give_back() before it is freed or
    // used anew. So no user is copied.
    Status get(const grpc::ServerContextBase &context, const GetUserRequest &request,
               GetUserResponse *reply)
    {
        Status status = authorize(context.client_metadata());
        if (!status.ok())
            return status;
        if (request.id().empty())
            return Status(StatusCode::INVALID_ARGUMENT, "id is required");
        User *user = users.find(request.id());
        if (user == nullptr)
            return Status(StatusCode::NOT_FOUND, "User " + request.id() + " not found");
        reply->unsafe_arena_set_allocated_user(user);
        return Status::OK;
    }

    static void give_back(GetUserResponse *reply)
    {
        reply->unsafe_arena_release_user();
    }

    Status create(const grpc::ServerContextBase &context, const CreateUserRequest &request,
                  CreateUserResponse *reply)
    {
        Status status = authorize(context.client_metadata());
        if (!status.ok())
            return status;
        if (request.username().empty() || request.email().empty() || request.password().empty())
            return Status(StatusCode::INVALID_ARGUMENT,
                          "username, email and password are required");
        const User *user = users.create(request.username(), request.email());
        if (user == nullptr)
            return Status(StatusCode::ALREADY_EXISTS, "username or email is taken");
        *reply->mutable_user() = *user;
        return Status::OK;
    }
};

// ---- the completion queue interface: one thread that does everything

class Slot
{
  public:
    virtual ~Slot() = default;
    virtual void proceed(bool ok) = 0;
};

// One place for a call, used again and again: messages keep their memory, as the documentation
// recommends; context and writer must be new for each call.
template <typename Request, typename Reply> class MethodSlot : public Slot
{
  public:
    MethodSlot(Backend &backend, users::v1::UserService::AsyncService &async,
               grpc::ServerCompletionQueue *queue)
        : backend(backend), async(async), queue(queue)
    {
        await();
    }

    void proceed(bool ok) override
    {
        if (is_answered) {
            await();
        } else if (ok) {
            is_answered = true;
            answer();
        }
    }

  private:
    void await()
    {
        is_answered = false;
        if constexpr (std::is_same_v<Reply, GetUserResponse>)
            Backend::give_back(&reply);
        writer.reset();
        context.emplace();
        writer.emplace(&*context);
        if constexpr (std::is_same_v<Request, GetUserRequest>)
            async.RequestGetUser(&*context, &request, &*writer, queue, queue, this);
        else
            async.RequestCreateUser(&*context, &request, &*writer, queue, queue, this);
    }

    void answer()
    {
        if constexpr (std::is_same_v<Request, GetUserRequest>) {
            finish(backend.get(*context, request, &reply));
        } else {
            finish(backend.create(*context, request, &reply));
        }
    }

    void finish(const Status &status)
    {
        if (status.ok())
            writer->Finish(reply, status, this);
        else
            writer->FinishWithError(status, this);
    }

    Backend &backend;
    users::v1::UserService::AsyncService &async;
    grpc::ServerCompletionQueue *queue;
    std::optional<grpc::ServerContext> context;
    std::optional<grpc::ServerAsyncResponseWriter<Reply>> writer;
    Request request;
    Reply reply;
    bool is_answered = false;
};

using GetSlot = MethodSlot<GetUserRequest, GetUserResponse>;
using CreateSlot = MethodSlot<CreateUserRequest, CreateUserResponse>;

// ---- the callback interface: threads of the library

// Messages for calls, used again. A reply gives its user back when the call is over.
class GetMessages : public grpc::MessageAllocator<GetUserRequest, GetUserResponse>
{
  public:
    grpc::MessageHolder<GetUserRequest, GetUserResponse> *AllocateMessages() override
    {
        std::lock_guard<std::mutex> guard(lock);
        if (free.empty())
            return new Holder(*this);
        Holder *holder = free.back();
        free.pop_back();
        return holder;
    }

  private:
    class Holder : public grpc::MessageHolder<GetUserRequest, GetUserResponse>
    {
      public:
        explicit Holder(GetMessages &owner) : owner(owner)
        {
            set_request(&own_request);
            set_response(&own_reply);
        }

        void Release() override
        {
            Backend::give_back(&own_reply);
            std::lock_guard<std::mutex> guard(owner.lock);
            owner.free.push_back(this);
        }

      private:
        GetMessages &owner;
        GetUserRequest own_request;
        GetUserResponse own_reply;
    };

    std::mutex lock;
    std::vector<Holder *> free;
};

class Callbacks final : public users::v1::UserService::CallbackService
{
  public:
    explicit Callbacks(Backend &backend) : backend(backend)
    {
        SetMessageAllocatorFor_GetUser(&messages);
    }

    grpc::ServerUnaryReactor *GetUser(grpc::CallbackServerContext *context,
                                      const GetUserRequest *request,
                                      GetUserResponse *reply) override
    {
        auto *reactor = context->DefaultReactor();
        reactor->Finish(backend.get(*context, *request, reply));
        return reactor;
    }

    grpc::ServerUnaryReactor *CreateUser(grpc::CallbackServerContext *context,
                                         const CreateUserRequest *request,
                                         CreateUserResponse *reply) override
    {
        auto *reactor = context->DefaultReactor();
        reactor->Finish(backend.create(*context, *request, reply));
        return reactor;
    }

  private:
    Backend &backend;
    GetMessages messages;
};

// ---- the program

std::string slurp(const std::string &path)
{
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

void prepare(grpc::ServerBuilder &builder, std::map<std::string, std::string> &options, int *port)
{
    grpc::SslServerCredentialsOptions tls(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
    tls.pem_key_cert_pairs.push_back({slurp(options["key"]), slurp(options["cert"])});
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // Counts what nobody asks for here; on by default.
    builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
    builder.AddChannelArgument(GRPC_ARG_OPTIMIZATION_TARGET, "throughput");
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), port);
}

int tell(const grpc::Server *server, int port)
{
    if (server == nullptr || port == 0) {
        std::cerr << "no port can be bound\n";
        return 69;
    }
    std::cout << "version libgrpc++ " << grpc::Version() << ", protobuf "
              << google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION) << ", "
              << OpenSSL_version(OPENSSL_VERSION) << "\nlistening 127.0.0.1:" << port << std::endl;
    return 0;
}

// Until a signal ends the process.
int serve_async(Backend &backend, std::map<std::string, std::string> &options)
{
    users::v1::UserService::AsyncService async;
    grpc::ServerBuilder builder;
    int port = 0;
    prepare(builder, options, &port);
    builder.RegisterService(&async);
    std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (int failure = tell(server.get(), port))
        return failure;
    std::vector<std::unique_ptr<Slot>> slots;
    for (int i = 0; i < SLOTS; i++) {
        slots.push_back(std::make_unique<GetSlot>(backend, async, queue.get()));
        slots.push_back(std::make_unique<CreateSlot>(backend, async, queue.get()));
    }
    void *tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok))
        static_cast<Slot *>(tag)->proceed(ok);
    return 0;
}

int serve_callback(Backend &backend, std::map<std::string, std::string> &options)
{
    Callbacks callbacks(backend);
    grpc::ServerBuilder builder;
    int port = 0;
    prepare(builder, options, &port);
    builder.RegisterService(&callbacks);
    std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (int failure = tell(server.get(), port))
        return failure;
    server->Wait();
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    std::string mode = argc > 1 ? argv[1] : "";
    std::map<std::string, std::string> options;
    for (int i = 2; i + 1 < argc; i += 2)
        options[std::string(argv[i]).substr(2)] = argv[i + 1];
    if ((mode != "--async" && mode != "--callback") || options["cert"].empty() ||
        options["key"].empty() || options["secret"].empty()) {
        std::cerr << "usage: grpc-cpp --async|--callback --cert FILE --key FILE --secret FILE"
                     " [--users N]\n";
        return 64;
    }
    Backend backend;
    backend.tokens.set_secret(slurp(options["secret"]));
    backend.users.preload(options["users"].empty() ? 0 : std::stoull(options["users"]));
    return mode == "--async" ? serve_async(backend, options) : serve_callback(backend, options);
}
