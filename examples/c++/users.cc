// users.v1 from C++: the C library behind one small class, failures as exceptions.
//
//     make && ./users TARGET CA_FILE TOKEN_FILE
//     ./users dns:///localhost:50051 run/certs/ca.pem run/certs/token
#include <userd/client.h>

#include <ctime>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

class CallFailed : public std::runtime_error
{
  public:
    explicit CallFailed(const userd_error &error)
        : std::runtime_error(std::string(userd_code_name(error.code)) + ": " + error.message),
          code(error.code)
    {
    }

    const userd_code code;
};

// What a user is once the library's own copy is gone.
struct User {
    explicit User(const userd_user &user)
        : id(user.id), username(user.username), roles(user.roles, user.roles + user.role_count)
    {
    }

    std::string id;
    std::string username;
    std::vector<std::string> roles;
};

// One client: of the thread that makes it, to its end. Other threads make one each.
class Users
{
  public:
    explicit Users(const userd_client_options &options)
    {
        userd_client *made;
        if (userd_client_new(&options, &made) != 0)
            throw std::runtime_error(userd_last_problem());
        client.reset(made);
    }

    User create(const std::string &username)
    {
        const std::string email = username + "@example.com";
        userd_new_user wanted = USERD_NEW_USER_INIT;
        const userd_user *user;
        wanted.username = username.c_str();
        wanted.email = email.c_str();
        wanted.password = "correct horse";
        check(userd_create_user(client.get(), nullptr, &wanted, &user));
        return User(*user);
    }

    User get(const std::string &id)
    {
        userd_call_options five_seconds = USERD_CALL_OPTIONS_INIT;
        const userd_user *user;
        five_seconds.timeout_ms = 5000;
        check(userd_get_user(client.get(), &five_seconds, id.c_str(), &user));
        return User(*user);
    }

    void remove(const std::string &id)
    {
        bool success;
        check(userd_delete_user(client.get(), nullptr, id.c_str(), nullptr, &success));
    }

    // Until `seen` says false or throws. No exception may fly through the library, which is C: one
    // of `seen` or of making the User ends the watch, waits beside it, and goes on from here.
    template <typename Seen> void watch(const std::string &id, Seen seen)
    {
        struct Watch {
            Seen &seen;
            std::exception_ptr thrown;
        } watching{seen, nullptr};

        const userd_code code = userd_watch_user(
            client.get(), nullptr, id.c_str(),
            [](void *context, const userd_user *user) noexcept {
                Watch &own = *static_cast<Watch *>(context);
                try {
                    return static_cast<bool>(own.seen(User(*user)));
                } catch (...) {
                    own.thrown = std::current_exception();
                    return false;
                }
            },
            &watching);
        if (watching.thrown)
            std::rethrow_exception(watching.thrown);
        check(code);
    }

  private:
    void check(userd_code code)
    {
        if (code != USERD_OK)
            throw CallFailed(*userd_client_error(client.get()));
    }

    struct Free {
        void operator()(userd_client *client) const
        {
            userd_client_free(client);
        }
    };

    std::unique_ptr<userd_client, Free> client;
};

int main(int argc, char **argv)
try {
    if (argc != 4) {
        std::cerr << "usage: users TARGET CA_FILE TOKEN_FILE\n";
        return 64;
    }
    userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    options.target = argv[1];
    options.ca_file = argv[2];
    options.token_file = argv[3];
    Users users(options);

    const User made =
        users.create("grace" + std::to_string(std::time(nullptr)) + "-" + std::to_string(getpid()));
    std::cout << "created: " << made.id << " " << made.username << "\n";
    std::cout << "got: " << users.get(made.id).username << "\n";
    users.watch(made.id, [](const User &state) {
        std::cout << "watched: " << state.username << "\n";
        return false;
    });
    try {
        users.watch(made.id, [](const User &state) -> bool { throw state.id; });
    } catch (const std::string &thrown) {
        std::cout << "thrown through a watch: " << (thrown == made.id ? "the same" : "another")
                  << "\n";
    }
    users.remove(made.id);
    try {
        users.get(made.id);
    } catch (const CallFailed &error) {
        std::cout << "deleted: " << error.what() << "\n";
        return error.code == USERD_NOT_FOUND ? 0 : 1;
    }
    return 1;

} catch (const std::exception &error) {
    std::cerr << "users: " << error.what() << "\n";
    return 1;
}
