/** Package managers, git, databases, mail and SSH, as in http.test.ts. */
import { testClients } from './check.ts';
import { PACKAGE_CLIENTS } from './table-packages.ts';
import { RAW_CLIENTS } from './table-raw.ts';

testClients([...PACKAGE_CLIENTS, ...RAW_CLIENTS]);
