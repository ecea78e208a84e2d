/** Which of its two layouts the program runs from: the development tree, or a bundle, whose code is compiled. */
export const isBundle: boolean = !import.meta.url.endsWith('.ts');
