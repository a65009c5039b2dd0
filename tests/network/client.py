# Tries all targets at once and prints who answered, as JSON: client.py '[["tcp", HOST, PORT], ...]'.
# The answer is the server's text, "connected" for one that waits for the client's first word, null for none.
import json, socket, sys, threading

WAIT = 6
targets = json.loads(sys.argv[1])
answers = [None] * len(targets)


def tcp(host, port):
    try:
        connection = socket.create_connection((host, port), WAIT)
    except OSError:
        return None
    with connection:
        connection.settimeout(1)
        try:
            return connection.recv(64).decode() or "connected"
        except (OSError, UnicodeDecodeError):
            return "connected"


def udp(host, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(WAIT / 3)
        for _ in range(3):
            try:
                sender.sendto(b"?", (host, port))
                return sender.recv(64).decode()
            except OSError:
                pass


def reach(number, kind, host, port):
    answers[number] = {"tcp": tcp, "udp": udp}[kind](host, port)


threads = [threading.Thread(target=reach, args=[number, *target]) for number, target in enumerate(targets)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(answers))
