// A C++17 program that uses the installed library: TARGET CA_FILE TOKEN_FILE NAME
#include <userd/client.h>

#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace
{

struct Free {
    void operator()(userd_client *client) const
    {
        userd_client_free(client);
    }
};

using Client = std::unique_ptr<userd_client, Free>;

Client connect(const char *target, const char *ca_file, const char *token_file)
{
    userd_client_options options = USERD_CLIENT_OPTIONS_INIT;
    userd_client *client = nullptr;

    options.target = target;
    options.ca_file = ca_file;
    options.token_file = token_file;
    if (userd_client_new(&options, &client) != 0) {
        throw std::runtime_error(userd_last_problem());
    }
    return Client(client);
}

void check(const Client &client, userd_code code)
{
    if (code != USERD_OK) {
        throw std::runtime_error(std::string(userd_code_name(code)) + ": " +
                                 userd_client_error(client.get())->message);
    }
}

void run(const Client &client, const std::string &name)
{
    const std::string email = name + "@example.com";
    userd_call_options soon = USERD_CALL_OPTIONS_INIT;
    userd_new_user new_user = USERD_NEW_USER_INIT;
    const userd_user *user = nullptr;
    unsigned told = 0;

    soon.timeout_ms = 60000;
    new_user.username = name.c_str();
    new_user.email = email.c_str();
    new_user.password = "correct horse battery";
    check(client, userd_create_user(client.get(), &soon, &new_user, &user));
    const std::string id = user->id;

    auto done = [](void *context, const userd_error *error, const userd_user *) {
        *static_cast<unsigned *>(context) += error->code == USERD_OK ? 1 : 1000;
    };
    for (int i = 0; i < 10; i++) {
        if (userd_start_get_user(client.get(), &soon, id.c_str(), done, &told) == nullptr) {
            throw std::runtime_error(userd_last_problem());
        }
    }
    while (userd_client_pending(client.get()) > 0) {
        if (userd_client_run(client.get(), USERD_NO_TIMEOUT) != 0) {
            throw std::runtime_error("the loop failed");
        }
    }
    if (told != 10) {
        throw std::runtime_error("not all were told");
    }
}

} // namespace

int main(int argc, char **argv)
{
    try {
        if (argc != 5) {
            throw std::runtime_error("usage: TARGET CA_FILE TOKEN_FILE NAME");
        }
        const Client client = connect(argv[1], argv[2], argv[3]);

        run(client, argv[4]);
        std::cout << "ok with " << userd_client_version() << '\n';
        return EXIT_SUCCESS;
    } catch (const std::exception &problem) {
        std::cerr << problem.what() << '\n';
        return EXIT_FAILURE;
    }
}
