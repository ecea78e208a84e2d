"""What an agent finds when it looks everywhere. Prints a line of JSON for each thing: its path, device and inode, whether it opens, and which of
the words given are in it; they are given backwards, so that no command line has them."""
import json, os, stat, sys

WORDS = [word[::-1].encode() for word in sys.argv[1:]]
# Whatever is larger is a program.
MOST = 4 * 1024 * 1024
seen = set()


def look(path):
    try:
        facts = os.lstat(path)
    except OSError:
        return
    # By its number: a file may have many names, and a directory is walked once.
    number = f'{facts.st_dev}:{facts.st_ino}'
    if number in seen or stat.S_ISLNK(facts.st_mode):
        return
    seen.add(number)
    told = {'path': path, 'number': number, 'opens': False, 'words': []}
    try:
        if stat.S_ISDIR(facts.st_mode):
            names = os.listdir(path)
            told['opens'] = True
        elif stat.S_ISREG(facts.st_mode):
            names = []
            with open(path, 'rb') as file:
                told['opens'] = True
                text = file.read(MOST)
            told['words'] = [word.decode() for word in WORDS if word in text]
        else:
            names = []
    except OSError:
        names = []
    print(json.dumps(told), flush=True)
    if path not in ('/proc', '/sys', '/dev'):
        for name in names:
            look(os.path.join(path, name))


def strangers():
    """Ways into what other processes see and hold open."""
    for pid in (name for name in os.listdir('/proc') if name.isdigit()):
        for way in ('root', 'cwd', 'fd', 'environ', 'cmdline'):
            yield f'/proc/{pid}/{way}'


def tops():
    """By their names, as Landlock lets nobody list the root: what is mounted, and what images have."""
    with open('/proc/self/mountinfo') as mounts:
        yield from (line.split()[4] for line in mounts)
    yield from ('/', '/etc', '/run', '/var', '/var/log', '/opt', '/tmp', '/root', '/home', '/srv', '/mnt', '/usr', '/castellan')


for top in tops():
    look(top)
for place in ('credentials/credentials.yaml', 'inference-routes/routes.yaml', 'proxy-auth/auth'):
    look(f'/etc/castellan-secrets/{place}')
for way in strangers():
    look(way)
    try:
        for name in os.listdir(way + '/'):
            look(f'{way}/{name}')
            look(os.path.realpath(f'{way}/{name}'))
    except OSError:
        pass
