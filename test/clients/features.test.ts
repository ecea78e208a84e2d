/** What HTTP can do besides a question and an answer, as in http.test.ts. */
import { testClients } from './check.ts';
import { HTTP_FEATURES } from './table-http.ts';

testClients(HTTP_FEATURES);
